"""The committed patients against sums taken from the official CSV files with awk, not with this package."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from ctan_monai.data.cases.cache import read_case_file, read_slice
from ctan_monai.data.datasets.openkbp.reader import OARS, PTVS, read_case
from ctan_monai.data.datasets.openkbp.sample import SAMPLE, write_sample
from ctan_monai.errors import DataError

FOUR_ORGANS = {"Brainstem", "SpinalCord", "RightParotid", "LeftParotid"}
# file: sum of (HU + 1024), voxels with a CT entry, sum of the dose, its maximum, voxels of the dose mask
SUMS = {
    "train/pt_25": (103149616, 141522, 2724959.398, 72.631, 88779),
    "train/pt_31": (177306846, 195149, 2247524.422, 73.836, 116705),
    "train/pt_74": (107480924, 101640, 2290269.979, 73.431, 68683),
    "train/pt_84": (173370575, 199671, 2166054.290, 73.432, 109681),
    "validation/pt_226": (136666980, 153505, 3603561.982, 76.166, 114251),
    "test/pt_232": (150612048, 169967, 1691803.856, 76.422, 83370),
}
# lines of the structures' files less the header
VOXELS_OF_PT_25 = {
    "Brainstem": 808,
    "LeftParotid": 521,
    "Mandible": 1595,
    "PTV56": 12759,
    "PTV70": 8281,
    "RightParotid": 546,
    "SpinalCord": 556,
    "dose_region": 88779,
}


@pytest.mark.parametrize("name", SUMS)
def test_a_patient_has_the_sums_of_the_official_files(sample_dir, name):
    case = read_case_file(sample_dir / f"{name}.case")
    ct_sum, ct_voxels, dose_sum, dose_max, region_voxels = SUMS[name]
    stored = case.volumes["ct"].astype(np.int64) + 1024
    assert (stored.sum(), (stored > 0).sum()) == (ct_sum, ct_voxels)
    assert case.volumes["dose"].sum(dtype=np.float64) == pytest.approx(dose_sum, abs=0.5)
    assert case.volumes["dose"].max() == np.float32(dose_max)
    assert case.masks["dose_region"].sum() == region_voxels
    assert not case.volumes["dose"][~case.masks["dose_region"]].any()
    assert FOUR_ORGANS <= set(case.masks) <= {*OARS, *PTVS, "dose_region"}


def test_the_structures_of_one_patient_have_the_official_sizes(sample_dir):
    case = read_case_file(sample_dir / "train" / "pt_25.case")
    assert {name: int(mask.sum()) for name, mask in case.masks.items()} == VOXELS_OF_PT_25


def test_the_sample_is_what_its_readme_says_and_small(sample_dir):
    files = {path.relative_to(sample_dir).with_suffix("").as_posix() for path in sample_dir.rglob("*.case")}
    assert files == set(SUMS) == {f"{split}/{name}" for split, names in SAMPLE.items() for name in names}
    assert sum(path.stat().st_size for path in sample_dir.rglob("*.case")) < 4_000_000
    readme = (sample_dir / "README.md").read_text()
    assert all(name.split("/")[1] in readme for name in SUMS)
    assert (sample_dir / "LICENSE").read_text().startswith("MIT License")


@pytest.mark.parametrize("name", SUMS)
def test_left_is_left_and_up_is_up(sample_dir, name):
    """RAS x grows to the patient's right, y to the front, z to the head."""
    case = read_case_file(sample_dir / f"{name}.case")

    def center(structure):
        index = np.append(np.argwhere(case.masks[structure]).mean(axis=0), 1)
        return (case.affine_ras @ index)[:3]

    assert center("LeftParotid")[0] < center("Brainstem")[0] < center("RightParotid")[0]
    assert center("SpinalCord")[1] < center("PTV70")[1]
    assert center("SpinalCord")[2] < center("Brainstem")[2]


def test_a_slice_of_a_real_patient_is_the_slice_of_the_whole(sample_dir):
    path = sample_dir / "test" / "pt_232.case"
    whole = read_case_file(path)
    for index in (0, 47, 48, 127):
        found = read_slice(path, index)
        assert found.volumes["dose"].tobytes() == whole.volumes["dose"][..., index].tobytes()
        assert found.masks["PTV70"].tobytes() == whole.masks["PTV70"][..., index].tobytes()


@pytest.mark.data
def test_writing_the_sample_again_gives_the_same_patients(sample_dir, real_openkbp, tmp_path, same_case):
    for path in write_sample(real_openkbp, tmp_path, {"validation": ["pt_226"], "test": ["pt_232"]}):
        committed = read_case_file(sample_dir / path.relative_to(tmp_path))
        same_case(read_case_file(path), committed)
        folder = real_openkbp / "provided-data" / "validation-pats" / path.stem
        same_case(read_case(folder), committed)


def test_a_patient_who_is_not_there_cannot_be_written(golden, tmp_path):
    (tmp_path / "train-pats").symlink_to(golden / "reference")
    assert len(write_sample(tmp_path, tmp_path / "sample", {"train": ["pt_3"]})) == 1
    with pytest.raises(DataError, match="pt_4"):
        write_sample(tmp_path, tmp_path / "sample", {"train": ["pt_4"]})


def test_the_committed_bytes_have_not_changed(sample_dir):
    """A change of the format must come with a new sample: write it again, and take the new digest from here."""
    whole = hashlib.sha256()
    for name in sorted(SUMS):
        whole.update((sample_dir / f"{name}.case").read_bytes())
    assert whole.hexdigest() == "3270895cda1626509388a8379ae0af01b7610113d933e1b8bfd6644598e8d782"
