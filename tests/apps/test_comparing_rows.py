"""Rows of the table: methods, weightings, and every ablation that comes with the package."""

from pathlib import Path

import pytest

from ctan_monai.apps.comparing.bundle import Bundle, read_overrides
from ctan_monai.apps.comparing.rows import make_rows, read_presets

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def bundle():
    return Bundle(str(ROOT / "bundles" / "openkbp"), ["--encoder", "resnet18", "--network_def#encoder", "resnet18"])


def test_a_weighting_makes_a_row_but_not_where_nothing_is_shared(bundle):
    rows = make_rows(bundle, ["stl", "hps"], ["equal", "dwa"])
    assert [(row.name, row.weighting) for row in rows] == [
        ("stl", None),
        ("hps-equal", "equal"),
        ("hps-dwa", "dwa"),
    ]


def test_without_a_weighting_it_is_the_bundles(bundle):
    assert [(row.name, row.weighting) for row in make_rows(bundle, ["hps"])] == [("hps", "dwa")]


@pytest.mark.parametrize("name", read_presets())
def test_an_ablation_changes_the_network_that_is_built(bundle, name):
    method, overrides = read_presets()[name]
    plain, changed = bundle.network(method), bundle.network(method, overrides)
    if name == "full_resolution":  # the bundle's own
        assert changed.settings == plain.settings
        return
    assert changed.settings != plain.settings
    options = read_overrides(overrides)
    flat = {**changed.settings, **changed.settings["network_options"], **changed.settings["decoder_options"]}
    for path, value in options.items():
        assert flat[path.split("#")[-1]] == value or flat[path.split("#")[-1]].items() >= value.items()


def test_overrides_are_read_as_monai_reads_them():
    assert read_overrides(["--a", "1e-3", "--b=[1, 2]", "--c#d", "text", "--e", "--f", "None"]) == {
        "a": 0.001,
        "b": [1, 2],
        "c#d": "text",
        "e": True,
        "f": None,
    }
