from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.transforms import Compose

from ctan_monai.errors import ConfigError
from ctan_monai.tasks import Regression, Segmentation
from ctan_monai.transforms import LoadCaseFiled, RandMirrorLabelsd
from ctan_monai.transforms.mirror import mirrored_order

LEFT, RIGHT = 1, 2  # labels of the fixture's task: Brainstem, LeftParotid, RightParotid, Larynx


@pytest.fixture
def always(organs, dose, finding):
    return RandMirrorLabelsd([organs, dose, finding], ["ct", "PTV70"], prob=1.0)


def _same(one, other):
    assert one.keys() == other.keys()
    for key, value in one.items():
        if isinstance(value, torch.Tensor):
            assert torch.equal(torch.as_tensor(value), torch.as_tensor(other[key])), key
        else:
            assert value == other[key]


def test_the_left_parotid_becomes_the_right_one_of_the_mirror_image(always, sample):
    mirrored = always(sample)
    assert sample["oar_present"].tolist() == [True, True, False, False]
    assert mirrored["oar_present"].tolist() == [True, False, True, False]
    np.testing.assert_array_equal(mirrored["oar"][RIGHT], np.flip(sample["oar"][LEFT].numpy(), axis=1))


def test_what_is_called_left_lies_on_the_patients_left_before_and_after(always, sample):
    sample["oar"][RIGHT, 4:7, 2:5, 1:3] = 1  # the right parotid, drawn
    sample["oar_present"][RIGHT] = True
    for patient in (sample, always(sample)):
        left_j, right_j = (patient["oar"][label].nonzero()[:, 1].float().mean() for label in (LEFT, RIGHT))
        left_mm, right_mm = (-4.0 * float(j) for j in (left_j, right_j))  # RAS: the patient's left is negative
        assert left_mm < right_mm


def test_image_dose_and_region_are_mirrored_together(always, sample):
    mirrored = always(sample)
    for key in ("image", "dose", "dose_region"):
        np.testing.assert_array_equal(mirrored[key], np.flip(sample[key].numpy(), axis=2))
    assert torch.equal(mirrored["image"].affine, sample["image"].affine)
    assert mirrored["stage"] == sample["stage"]


def test_mirroring_twice_changes_nothing(always, sample):
    _same(always(always(sample)), sample)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**16), index=st.integers(0, 4), axis=st.integers(0, 1))
def test_mirroring_commutes_with_taking_a_slice(seed, index, axis):
    rng = torch.Generator().manual_seed(seed)
    task = Segmentation("oar", ["L", "R", "M"], mirror_pairs=[("L", "R")])
    volume = {
        "image": torch.rand(2, 6, 7, 5, generator=rng),
        "oar": torch.randint(0, 2, (3, 6, 7, 5), generator=rng),
        "oar_present": torch.randint(0, 2, (3,), generator=rng).bool(),
    }
    mirror = RandMirrorLabelsd([task], ["ct", "M"], spatial_axis=axis, prob=1.0)

    def taken(sample):
        return {key: value if key.endswith("present") else value[..., index] for key, value in sample.items()}

    _same(mirror(taken(volume)), taken(mirror(volume)))


def test_contours_in_the_image_change_places_with_their_labels(patient, organs):
    channels = ["RightParotid", "ct", "LeftParotid"]
    sample = LoadCaseFiled([organs], channels).sample(patient, Path("x"))
    mirrored = RandMirrorLabelsd([organs], channels, prob=1.0)(sample)
    np.testing.assert_array_equal(mirrored["image"][0], mirrored["oar"][RIGHT])
    np.testing.assert_array_equal(mirrored["image"][1], np.flip(patient.volumes["ct"], axis=1))
    assert mirrored["image"][2].sum() == 0


def test_pairs_of_contours_that_are_no_labels_can_be_named(dose):
    mirror = RandMirrorLabelsd([dose], ["ct", "Eye_L", "Eye_R"], channel_pairs=[("Eye_L", "Eye_R")])
    assert mirror.channel_order == [0, 2, 1]


def test_half_a_pair_of_contours_is_refused(organs):
    with pytest.raises(ConfigError, match="LeftParotid and RightParotid only one"):
        RandMirrorLabelsd([organs], ["ct", "LeftParotid"])


def test_an_axis_is_counted_from_the_front(dose):
    with pytest.raises(ConfigError, match="spatial_axis"):
        RandMirrorLabelsd([dose], spatial_axis=-1)


def test_the_same_seed_mirrors_the_same_samples_about_half_of_them(dose):
    sample = {"image": torch.arange(4.0).reshape(1, 1, 4), "dose": torch.arange(4.0).reshape(1, 1, 4)}
    choices = []
    for _ in range(2):
        pipeline = Compose([RandMirrorLabelsd([Regression("dose", "Gy", 70.0)], prob=0.5)])
        pipeline.set_random_state(seed=3)
        choices.append([bool(pipeline(sample)["image"][0, 0, 0] == 3) for _ in range(200)])
    assert choices[0] == choices[1]
    assert 70 < sum(choices[0]) < 130


def test_names_outside_pairs_stay_where_they_are():
    assert mirrored_order(["a", "b", "c"], [("b", "a"), ("x", "y")]) == [1, 0, 2]
