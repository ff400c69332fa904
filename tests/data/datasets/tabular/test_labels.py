"""Numbers of label maps and masks, as scaled headers leave them, and groups of numbers that are one label."""

import gzip
import struct
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from tabular_data import AFFINE_RAS, SHAPE, label_map, ramp, save_volume, volume_layout, write_csv

from ctan_monai.data.datasets.tabular.labels import inside_of, split_map
from ctan_monai.data.datasets.tabular.layout import as_layout
from ctan_monai.data.datasets.tabular.reader import read_case
from ctan_monai.data.datasets.tabular.rows import read_rows
from ctan_monai.errors import ConfigError, DataError
from ctan_monai.tasks import Segmentation

BRATS = np.array([0, 1, 2, 4, 2, 0], np.uint8).reshape(6, 1, 1) * np.ones(SHAPE, np.uint8)
GROUPS = {"whole": (1, 2, 4), "core": (1, 4), "enhancing": (4,)}
REGIONS = Segmentation("regions", list(GROUPS), overlapping=True)


def case_of(folder, task, label_values, values):
    """Read a case with a label map in the column of its task."""
    layout = volume_layout([task], label_values={task.name: label_values})
    row = {"image": save_volume(folder / "ct.nii.gz", ramp()), task.name: save_volume(folder / "map.nii.gz", values)}
    (found,) = read_rows(write_csv(folder / "cases.csv", [row]), None, layout)
    return read_case(found, layout)


def test_a_label_can_be_a_group_of_numbers_and_groups_overlap(tmp_path):
    masks = case_of(tmp_path, REGIONS, {"whole": [1, 2, 4], "core": [1, 4], "enhancing": 4}, BRATS).masks
    assert {name: mask[:, 0, 0].tolist() for name, mask in masks.items()} == {
        "whole": [False, True, True, True, True, False],
        "core": [False, True, False, True, False, False],
        "enhancing": [False, False, False, True, False, False],
    }


@pytest.mark.parametrize("label", ["whole", "regions"])
def test_one_label_alone_can_be_a_group(tmp_path, label):
    task = Segmentation("regions", [label], overlapping=True)
    assert np.array_equal(case_of(tmp_path, task, {label: [1, 2, 4]}, BRATS).masks[label], BRATS > 0)


def test_a_number_of_no_group_is_refused_and_the_groups_are_listed(tmp_path):
    with pytest.raises(DataError, match=r"holds 3, expected 0 and 1\+2\+4 whole, 1\+4 core, 4 enhancing"):
        case_of(tmp_path, REGIONS, GROUPS, np.where(BRATS == 1, 3, BRATS).astype(np.uint8))


@pytest.mark.parametrize(
    ("overlapping", "groups"),
    [
        (False, {"whole": [1, 2], "core": [1]}),
        (True, {"whole": [1, 2], "core": [2, 1]}),
        (True, {"whole": [1, 1], "core": 2}),
        (True, {"whole": [], "core": 2}),
        (True, {"whole": [0, 1], "core": 2}),
        (True, {"whole": [1, 2]}),
    ],
)
def test_groups_that_cannot_be_are_refused(overlapping, groups):
    with pytest.raises(ConfigError, match="label_values: regions"):
        as_layout([Segmentation("regions", ["whole", "core"], overlapping)], ["ct"], label_values={"regions": groups})


def test_disjoint_groups_may_exclude_each_other(tmp_path):
    task = Segmentation("sides", ["left", "right"])
    masks = case_of(tmp_path, task, {"left": [1, 2], "right": [4]}, BRATS).masks
    assert np.array_equal(masks["left"], np.isin(BRATS, (1, 2)))
    assert np.array_equal(masks["right"], BRATS == 4)


# ---- numbers that are nearly whole


def stored_with(path, values, slope):
    """Write uint16 values that the header scales, as SPM does with label maps."""
    nib.save(nib.Nifti1Image(values.astype(np.uint16), AFFINE_RAS), path)
    content = bytearray(gzip.decompress(path.read_bytes()))
    content[112:120] = struct.pack("<ff", slope, 0.0)  # scl_slope, scl_inter
    path.write_bytes(gzip.compress(bytes(content)))


def test_a_scaled_label_map_holds_whole_numbers(tmp_path):
    task = Segmentation("tumour", ["core", "edema"])
    layout = volume_layout([task])
    save_volume(tmp_path / "ct.nii.gz", ramp())
    stored_with(tmp_path / "map.nii.gz", label_map().astype(int) * 32767, 1 / 32767)
    assert not np.isin(nib.load(tmp_path / "map.nii.gz").get_fdata(), (0, 1, 2)).all()  # 0.99999999 and so on
    (row,) = read_rows(write_csv(tmp_path / "c.csv", [{"image": "ct.nii.gz", "tumour": "map.nii.gz"}]), None, layout)
    masks = read_case(row, layout).masks
    assert np.array_equal(masks["core"], label_map() == 1)
    assert np.array_equal(masks["edema"], label_map() == 2)


@pytest.mark.parametrize(
    ("values", "inside"),
    [
        ([0, 0.99995, 1.00008], [False, True, True]),
        ([1e-5, 0, 255.00009], [False, False, True]),
        ([0, 0.5, 0.5], [False, True, True]),
        ([0, 1e-5, 1e-5], [False, True, True]),  # of a mask that is 1e-5 nothing would be left
    ],
)
def test_a_mask_is_what_is_not_0_after_rounding(values, inside):
    assert inside_of(np.array(values), Path("m"), "m").tolist() == inside


@pytest.mark.parametrize("value", [1.0002, 0.5, 1.9997])
def test_what_is_further_from_a_whole_number_is_refused(value):
    with pytest.raises(DataError, match=f"the label map holds {value:g}, expected 0 and 1 core, 2 edema"):
        split_map(np.array([0, value, 2]), {"core": (1,), "edema": (2,)}, Path("m"), "m")
