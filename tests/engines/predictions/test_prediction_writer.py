from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
import torch.distributed as dist
from monai.data import DataLoader, Dataset, MetaTensor
from torch import nn

from ctan_monai.data.cases.cache import read_case_file, write_case
from ctan_monai.data.cases.case import Case
from ctan_monai.data.datasets.openkbp.sparse import read_sparse
from ctan_monai.engines.loop.evaluator import MultiTaskEvaluator
from ctan_monai.engines.predictions.prediction_files import file_names
from ctan_monai.engines.predictions.prediction_writer import WritePredictions
from ctan_monai.engines.predictions.predictions_index import read_index
from ctan_monai.errors import ConfigError, DataError
from ctan_monai.tasks import Classification, Regression, Segmentation
from ctan_monai.transforms import LoadCaseFiled

SHAPE = (9, 7, 5)
AFFINE_RAS = np.array([[0, -4.0, 0, 3], [-3.0, 0, 0, -5], [0, 0, -2.5, 7], [0, 0, 0, 1]])
ORGANS = Segmentation("oar", ["Brainstem", "Cord"], overlapping=True)
ROI = Segmentation("roi", ["outer", "inner"])
DOSE = Regression("dose", unit="Gy", scale=70.0, nonnegative=True)
STAGE = Classification("stage", ["early", "=late"])
SIGNS = Classification("signs", ["a", "b"], multilabel=True)
SCORE = Regression("score", unit="points", scale=2.0, level="image")
CHANNELS = ["dose", "Brainstem", "Cord"]


class Oracle(nn.Module):
    """A network that is shown the answers as its image, so that what is written can be compared with the truth."""

    def __init__(self, tasks, spoil=0.0):
        super().__init__()
        self.tasks, self.spatial_dims, self.independent_tasks, self.spoil = tuple(tasks), 3, False, spoil
        self.anchor = nn.Parameter(torch.zeros(()))

    def forward(self, image):
        dose, brainstem, cord = (image[:, channel : channel + 1] for channel in range(3))
        both = torch.cat([brainstem, cord], 1)
        known = {
            "oar": 8 * both - 4 + self.spoil,
            "roi": torch.cat([0.5 * torch.ones_like(dose), brainstem, 2 * cord], 1),
            "dose": dose / 70 - 0.01 + self.spoil,  # a little negative where there is none, as networks are
            "stage": torch.tensor([[0.0, 2.0]]).expand(len(image), 2),
            "signs": torch.tensor([[0.0, -2.0]]).expand(len(image), 2),
            "score": torch.full((len(image), 1), -1.5),
        }
        return {task.name: known[task.name] for task in self.tasks}


@pytest.fixture
def patients(tmp_path):
    """Two cached cases; only the second has a region for the dose."""
    rng = np.random.default_rng(0)
    files = []
    for number in (10, 2):
        masks = {name: rng.random(SHAPE) > 0.6 for name in ("Brainstem", "Cord")}
        if number == 2:
            masks["dose_region"] = rng.random(SHAPE) > 0.5
        volumes = {
            "ct": rng.integers(-1024, 900, SHAPE).astype(np.int16),
            "dose": (rng.random(SHAPE) * 70).astype(np.float32),
        }
        files.append(tmp_path / "cache" / f"pt_{number}.case")
        write_case(files[-1], Case(f"pt_{number}", volumes, masks, AFFINE_RAS))
    return files


def _predict(files, folder, tasks=(ORGANS, DOSE), spoil=0.0, **options):
    writer = WritePredictions(tasks, folder, **options)
    data = Dataset([{"case": path.stem, "file": str(path)} for path in files], LoadCaseFiled(tasks, CHANNELS))
    network = Oracle(tasks, spoil)
    MultiTaskEvaluator("cpu", DataLoader(data, batch_size=1), network, val_handlers=[writer]).run()
    return folder


def _volume(path):
    image = nib.load(path)
    return np.asanyarray(image.dataobj), image.affine


def test_masks_and_dose_reload_where_the_patient_lies(patients, tmp_path):
    folder = _predict(patients, tmp_path / "out", formats=["nifti", "openkbp"], volumes=["ct"])
    from ctan_monai.data.cases.cache import read_case_file

    for path in patients:
        truth = read_case_file(path)
        for label in ORGANS.labels:
            mask, affine = _volume(folder / truth.case / f"{label}.nii.gz")
            assert mask.dtype == np.uint8
            np.testing.assert_array_equal(mask, truth.masks[label])
            np.testing.assert_allclose(affine, AFFINE_RAS)
        dose, affine = _volume(folder / truth.case / "dose.nii.gz")
        assert dose.dtype == np.float32
        expected = np.clip(truth.volumes["dose"] - 0.7, 0, None) * truth.masks.get("dose_region", 1)
        np.testing.assert_allclose(dose, expected, atol=1e-4)
        np.testing.assert_allclose(affine, AFFINE_RAS)
        np.testing.assert_array_equal(read_sparse(folder / "openkbp" / f"{truth.case}.csv", SHAPE), dose)
        np.testing.assert_array_equal(_volume(folder / truth.case / "ct.nii.gz")[0], truth.volumes["ct"])


def test_a_flag_keeps_the_dose_outside_the_possible_dose_mask(patients, tmp_path):
    masked, whole = (
        _volume(_predict(patients[1:], tmp_path / str(flag), mask_dose=flag) / "pt_2" / "dose.nii.gz")[0]
        for flag in (True, "False")
    )
    from ctan_monai.data.cases.cache import read_case_file

    region = read_case_file(patients[1]).masks["dose_region"]
    assert masked[~region].max() == 0
    assert whole[~region].max() > 1
    np.testing.assert_array_equal(masked[region], whole[region])


def test_another_value_than_0_is_written_outside_of_a_region(patients, tmp_path):
    found = _volume(_predict(patients[1:], tmp_path / "a", outside={"dose": -1000}) / "pt_2" / "dose.nii.gz")[0]
    plain = _volume(_predict(patients[1:], tmp_path / "b") / "pt_2" / "dose.nii.gz")[0]
    region = read_case_file(patients[1]).masks["dose_region"]
    assert (found[~region] == -1000).all()
    np.testing.assert_array_equal(found[region], plain[region])


@pytest.mark.parametrize("outside", [{"oar": 0}, {"nothing": 0}, {"dose": "air"}])
def test_only_a_regression_per_voxel_has_a_value_outside(tmp_path, outside):
    with pytest.raises(ConfigError, match=r"outside: .* Give numbers for some of \['dose'\]"):
        WritePredictions([ORGANS, DOSE], tmp_path, outside=outside)


def test_exclusive_labels_are_also_written_as_one_label_map(patients, tmp_path):
    folder = _predict(patients[:1], tmp_path / "out", tasks=[ROI])
    label_map, _ = _volume(folder / "pt_10" / "roi.nii.gz")
    outer, inner = (_volume(folder / "pt_10" / f"{label}.nii.gz")[0] for label in ROI.labels)
    np.testing.assert_array_equal(label_map, outer + 2 * inner)
    assert label_map.max() == 2
    assert not (outer & inner).any()


@pytest.mark.promise(6, "no cell of the table of predictions can be taken for a formula")
def test_answers_per_image_become_a_table_that_no_spreadsheet_executes(patients, tmp_path):
    folder = _predict(patients, tmp_path / "out", tasks=[STAGE, SIGNS, SCORE])
    with (folder / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["case"] for row in rows] == ["pt_2", "pt_10"]
    assert rows[0]["stage"] == "'=late"
    odds = np.exp(2.0)
    assert float(rows[0]["stage: =late"]) == pytest.approx(odds / (1 + odds))
    assert float(rows[0]["signs: b"]) == pytest.approx(1 / (1 + odds))
    assert float(rows[0]["score / points"]) == pytest.approx(-3.0)


def test_the_index_leads_from_a_case_to_its_source_and_its_files_wherever_the_folder_moves(patients, tmp_path):
    _predict(patients, tmp_path / "out", tasks=[ORGANS, DOSE, STAGE])
    assert str(tmp_path) not in (tmp_path / "out" / "cases.json").read_text()
    (tmp_path / "elsewhere").mkdir()
    for name in ("out", "cache"):
        (tmp_path / name).rename(tmp_path / "elsewhere" / name)
    index = read_index(tmp_path / "elsewhere" / "out")
    assert index.tasks == (ORGANS, DOSE, STAGE)
    assert [case.case for case in index.cases] == ["pt_2", "pt_10"]
    for case in index.cases:
        assert case.source is not None
        assert case.source.is_file()
        assert set(case.files) == {"oar", "dose"}
        assert all(file.is_file() for files in case.files.values() for file in files.values())
        assert set(case.answers["stage"]) == {"early", "=late"}
    assert [case.masked for case in index.cases] == [("dose",), ()]


def test_a_case_that_a_distributed_sampler_repeats_is_written_once(patients, tmp_path):
    folder = _predict([patients[0], patients[0]], tmp_path / "out")
    assert len(read_index(folder).cases) == 1


def test_processes_gather_their_cases(patients, tmp_path):
    dist.init_process_group("gloo", init_method=f"file://{tmp_path / 'meet'}", rank=0, world_size=1)
    try:
        folder = _predict(patients, tmp_path / "out")
    finally:
        dist.destroy_process_group()
    assert [case.case for case in read_index(folder).cases] == ["pt_2", "pt_10"]


@pytest.mark.parametrize("name", ["pt_2", "PT_2"])
def test_two_cases_that_would_share_a_folder_are_refused(patients, tmp_path, name):
    case = read_case_file(patients[0])
    other = tmp_path / "other.case"
    write_case(other, dataclasses.replace(case, case=name), "")
    first = tmp_path / "first.case"
    write_case(first, dataclasses.replace(case, case="pt_2"), "")
    with pytest.raises(DataError, match=r"its predictions would have the place of pt_2 of .*first\.case"):
        _predict([first, other], tmp_path / "out")


def test_an_interrupted_run_leaves_no_index(patients, tmp_path):
    folder = _predict(patients, tmp_path / "out")
    patients[1].write_bytes(b"damaged")
    with pytest.raises(RuntimeError) as error:  # MONAI wraps what a transform raises
        _predict(patients, folder)
    assert isinstance(error.value.__cause__, DataError)
    assert not (folder / "cases.json").exists()


def test_a_prediction_that_is_not_a_number_is_refused(patients, tmp_path):
    with pytest.raises(DataError, match=r"prediction of oar \(case pt_10\).*NaN"):
        _predict(patients, tmp_path / "out", spoil=float("nan"))


def _batch(case, image):
    class Engine:
        class state:  # noqa: N801 - as ignite names it
            batch = {"case": [case], "image": image}  # noqa: RUF012
            output = {"pred": {"dose": torch.zeros(1, 1, 4, 4, 4)}}  # noqa: RUF012

    return Engine()


@pytest.mark.promise(6, "predictions of a case with a hostile id are refused before anything is written")
@pytest.mark.parametrize("case", ["../pt_1", "..", "a/b", "/etc", "x" * 65])
def test_a_case_id_cannot_lead_out_of_the_folder(tmp_path, case):
    writer = WritePredictions([DOSE], tmp_path / "out")
    with pytest.raises(DataError, match="Rename the case"):
        writer(_batch(case, MetaTensor(torch.zeros(1, 1, 4, 4, 4))))
    assert list(tmp_path.iterdir()) == []


def test_an_image_without_an_affine_is_refused(tmp_path):
    with pytest.raises(DataError, match="lost its affine"):
        WritePredictions([DOSE], tmp_path)(_batch("pt_1", torch.zeros(1, 1, 4, 4, 4)))


@pytest.mark.parametrize(
    ("tasks", "formats"), [([ORGANS], ["openkbp"]), ([DOSE], ["dicom"]), ([DOSE], []), ([DOSE], "nifti")]
)
def test_formats_must_be_known_and_have_something_to_hold(tmp_path, tasks, formats):
    with pytest.raises(ConfigError, match="formats"):
        WritePredictions(tasks, tmp_path, formats=formats)


@pytest.mark.promise(6, "labels with hostile names become harmless file names that are never shared")
def test_labels_that_are_no_file_names_are_renamed_and_never_share_a_file():
    names = file_names([Segmentation("oar", ["GTV/1", "../up"], overlapping=True)])
    assert list(names.values()) == ["GTV_1.nii.gz", "_up.nii.gz"]
    for labels in (["GTV 1", "GTV/1"], ["Lung", "lung"], ["dose"]):
        with pytest.raises(ConfigError, match="Rename one"):
            file_names([Segmentation("oar", labels, overlapping=True), DOSE])


@pytest.mark.parametrize(
    ("content", "finding"),
    [
        ("{", "no list of predictions"),
        (json.dumps({"format": "other"}), "its format is 'other'"),
        ("[]", "no list of predictions"),
        (
            json.dumps(
                {
                    "format": "ctan_monai predictions 1",
                    "tasks": [],
                    "cases": [
                        {"case": "a", "source": None, "files": {"d": {"d": "../../x"}}, "answers": {}, "masked": []}
                    ],
                }
            ),
            "lies outside",
        ),
    ],
)
def test_a_damaged_index_is_named(tmp_path, content, finding):
    (tmp_path / "cases.json").write_text(content)
    with pytest.raises(DataError, match=finding):
        read_index(tmp_path)


def test_a_folder_without_predictions_is_named():
    with pytest.raises(DataError, match=r"nowhere.*cases.json.*predict first"):
        read_index(Path("nowhere"))


def test_a_volume_that_the_case_does_not_have_is_named(patients, tmp_path):
    with pytest.raises(DataError, match=r"pt_10.case \(case pt_10\): there is no volume 'mr'"):
        _predict(patients, tmp_path / "out", volumes=["mr"])


def test_volumes_can_only_be_copied_from_a_known_source(tmp_path):
    image = MetaTensor(torch.zeros(1, 1, 4, 4, 4), affine=torch.eye(4)[None])
    with pytest.raises(DataError, match="does not say which file it came from"):
        WritePredictions([DOSE], tmp_path, volumes=["ct"])(_batch("pt_1", image))
