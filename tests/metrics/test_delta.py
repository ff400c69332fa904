"""The whole of the paper's Table 2, recomputed from its own columns."""

import itertools

import pytest

from ctan_monai.errors import ConfigError
from ctan_monai.metrics.delta import delta_mean, delta_task, published_table2

TABLE = published_table2()
TASKS = [row for row in TABLE if row.baseline is not None]
HALF = 0.005  # the rounding of a value with two decimals


def deltas(**fields):
    return [row.delta for row in TABLE if all(getattr(row, name) == value for name, value in fields.items())]


def interval(row):
    """Every delta that the unrounded metrics may have had, plus the rounding of the delta itself."""
    corners = itertools.product((row.baseline - HALF, row.baseline + HALF), (row.value - HALF, row.value + HALF))
    found = [delta_task(baseline, value, row.higher_is_better) for baseline, value in corners]
    return min(found) - HALF, max(found) + HALF


def test_more_dice_and_less_error_are_both_improvements():
    assert delta_task(50.0, 55.0, higher_is_better=True) == pytest.approx(10.0)
    assert delta_task(50.0, 55.0, higher_is_better=False) == pytest.approx(-10.0)
    assert delta_mean([10.0, -4.0]) == 3.0


def test_delta_has_no_unit():
    assert delta_task(0.53, 0.51, False) == pytest.approx(delta_task(53.0, 51.0, False))


def test_the_table_is_complete():
    assert len(TASKS) == 24
    assert len(TABLE) == 24 + 12 + 9
    assert {row.method for row in TABLE} == {"HPS", "MTAN", "CTAN"}


@pytest.mark.parametrize("row", TASKS, ids=lambda row: f"{row.dataset}-{row.method}-{row.task}")
def test_a_printed_delta_follows_from_the_printed_metrics_unless_it_is_marked(row):
    low, high = interval(row)
    assert (low <= row.delta <= high) == row.follows


def test_exactly_two_of_the_24_do_not_follow():
    marked = [(row.dataset, row.method, row.task, row.delta) for row in TABLE if not row.follows]
    assert marked == [("Prostate", "HPS", "1", 1.74), ("OpenKBP", "HPS", "1", -0.52)]
    assert [delta_task(row.baseline, row.value, True) for row in TASKS if not row.follows] == pytest.approx(
        [1.61, -0.589], abs=HALF
    )


@pytest.mark.parametrize("dataset", ["Prostate", "OpenKBP", "HAM10000", "STOIC", "Average"])
@pytest.mark.parametrize("method", ["HPS", "MTAN", "CTAN"])
def test_a_row_mean_follows_from_the_printed_deltas(dataset, method):
    both = deltas(dataset=dataset, method=method, task="1") + deltas(dataset=dataset, method=method, task="2")
    (printed,) = deltas(dataset=dataset, method=method, task="mean")
    assert len(both) == 2
    assert delta_mean(both) == pytest.approx(printed, abs=HALF + 1e-9)


@pytest.mark.parametrize("task", ["1", "2", "mean"])
@pytest.mark.parametrize("method", ["HPS", "MTAN", "CTAN"])
def test_an_average_over_datasets_follows_from_the_printed_deltas(method, task):
    *each, average = deltas(method=method, task=task)
    assert len(each) == 4
    assert delta_mean(each) == pytest.approx(average, abs=HALF + 1e-9)


def test_from_the_printed_metrics_the_averages_would_be_others():
    def recomputed(method):
        return delta_mean(
            delta_task(row.baseline, row.value, row.higher_is_better) for row in TASKS if row.method == method
        )

    assert [recomputed(m) for m in ("HPS", "MTAN", "CTAN")] == pytest.approx([3.26, -5.32, 4.75], abs=HALF)


def test_nothing_is_relative_to_zero_and_there_is_no_mean_of_nothing():
    with pytest.raises(ConfigError, match="baseline"):
        delta_task(0.0, 1.0, True)
    with pytest.raises(ConfigError, match="there is none"):
        delta_mean([])
