"""Averages by hand, and laws: the order of sites, a site alone, a task that some sites lack."""

import numpy as np
import pytest

from ctan_monai.federated.average import Update, average

BEFORE = {
    "body": np.array([1.0, 2.0], np.float32),
    "heads.dose": np.array([5.0], np.float32),
    "steps": np.array(7, np.int64),
}


def update(site, body, dose=None, count=1.0, steps=7):
    weights = {"body": np.array(body, np.float32), "steps": np.array(steps, np.int64)}
    if dose is not None:
        weights["heads.dose"] = np.array([dose], np.float32)
    return Update(site, weights, dict.fromkeys(weights, count))


def test_sites_count_by_their_samples_and_a_task_by_the_sites_that_have_it():
    found = average(BEFORE, [update("a", [0, 4], dose=1, count=30), update("b", [4, 0], count=10, steps=10)])
    np.testing.assert_allclose(found["body"], [1, 3])
    np.testing.assert_allclose(found["heads.dose"], [1])  # b, without doses, does not dilute it
    assert found["steps"] == 8  # 7.75
    assert {name: values.dtype for name, values in found.items()} == {name: v.dtype for name, v in BEFORE.items()}


def test_what_no_site_sends_stays_and_a_site_alone_is_copied():
    found = average(BEFORE, [update("a", [3, 3])])
    np.testing.assert_array_equal(found["body"], [3, 3])
    np.testing.assert_array_equal(found["heads.dose"], BEFORE["heads.dose"])
    assert average(BEFORE, [])["body"].tolist() == [1, 2]


def test_the_order_of_sites_changes_nothing():
    sites = [update("a", [1, 2], 3, count=5), update("b", [4, 5], 6, count=2), update("c", [7, 8], count=11)]
    one, other = average(BEFORE, sites), average(BEFORE, sites[::-1])
    for name in BEFORE:
        np.testing.assert_allclose(one[name], other[name], rtol=1e-6)


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        (Update("x", {"body": np.array([1.0, np.nan])}, {"body": 1.0}), "not finite"),
        (Update("x", {"body": np.zeros(3)}, {"body": 1.0}), "does not have"),
        (Update("x", {"other": np.zeros(2)}, {"other": 1.0}), "does not have"),
        (Update("x", {"body": np.zeros(2)}, {}), "how many samples"),
    ],
)
def test_what_cannot_be_averaged_is_refused_with_the_site_named(sent, words):
    with pytest.raises(ValueError, match=words) as caught:
        average(BEFORE, [update("a", [0, 0]), sent])
    assert str(caught.value).startswith("x sends") or "x does not say" in str(caught.value)
