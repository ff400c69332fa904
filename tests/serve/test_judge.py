"""Whether weights are kept, in numbers that a person can add up."""

from types import SimpleNamespace

import numpy as np
import pytest

from ctan_monai.serve.judge import Seen, changes, judge, seen


def seen_dice(**dice):
    return Seen(dice, {})


def verdict(before, after, deciding=1, labels=("a", "b"), keep_unjudged=False):
    return judge([seen_dice(**each) for each in before], [seen_dice(**each) for each in after], deciding, labels,
                 keep_unjudged)  # fmt: skip


def test_a_better_mean_is_kept():
    found = verdict([{"a": 0.5, "b": 0.7}], [{"a": 0.6, "b": 0.69}])
    assert found.kept
    assert (found.dice_before, found.dice_after) == pytest.approx((0.6, 0.645))


def test_a_worse_mean_is_not():
    assert not verdict([{"a": 0.5, "b": 0.7}], [{"a": 0.5, "b": 0.69}]).kept


def test_one_label_that_falls_is_not_made_good_by_another_that_rises():
    found = verdict([{"a": 0.20, "b": 0.9}], [{"a": 0.79, "b": 0.0}], keep_unjudged=True)
    assert found.dice_after < 0.6
    assert not found.kept
    assert "b (0.900 to 0.000) fell" in found.why


def test_a_fall_on_a_case_that_was_learned_from_counts_too():
    before, after = [{"a": 0.5, "b": 0.5}, {"a": 0.9, "b": 0.9}], [{"a": 0.6, "b": 0.6}, {"a": 0.7, "b": 0.9}]
    assert not verdict(before, after).kept  # a: 0.70 to 0.65 in the mean of both
    assert verdict(before[:1], after[:1]).kept


@pytest.mark.parametrize("request_", [False, True])
def test_without_a_case_or_a_label_only_a_request_keeps_them(request_):
    assert verdict([{"a": 0.1, "b": 0.1}], [{"a": 0.9, "b": 0.9}], deciding=0, keep_unjudged=request_).kept == request_
    found = verdict([{"a": 0.1}], [{"a": 0.9}], keep_unjudged=request_)
    assert found.kept == request_
    assert request_ or "label of b" in found.why


def test_dice_is_measured_where_something_was_drawn():
    masks = {"a": np.array([1, 1, 0, 0], bool), "b": np.array([0, 0, 0, 1], bool)}
    drawn = SimpleNamespace(masks={"a": np.array([0, 1, 1, 0], bool)})
    found = seen(SimpleNamespace(masks={"oar": masks}, values={}), drawn, "oar")
    assert found.dice == {"a": 0.5}


def test_values_move_by_their_mean_difference():
    before, after = Seen({}, {"dose": np.array([1.0, 2.0])}), Seen({}, {"dose": np.array([1.5, 1.5])})
    assert changes([before], [after]) == {"dose": 0.5}
