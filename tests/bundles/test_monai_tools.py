"""MONAI's tools give a packed bundle {"image": path} and get what the bundle itself would have written."""

import csv
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from dicom_phantoms import Patient
from known_anatomy import write_ct
from monai.bundle import ConfigWorkflow
from monai.data import MetaTensor
from monai_protocol import infer, packed_untrained, without_options
from PIL import Image
from tabular_data import save_volume
from typer.testing import CliRunner

from ctan_monai.apps.main import app
from ctan_monai.data.datasets.stoic.synthetic import draw_chest, write_chest
from ctan_monai.errors import DataError

BUNDLES = Path(__file__).parents[2] / "bundles"
AXES = {  # column by column, where the axes of somebody's files point; the last is turned by 8 degrees
    "RAS": np.diag([2.0, 2.0, 3.0, 1.0]),
    "LPS": np.diag([-2.0, -2.0, 3.0, 1.0]),
    "SAR": np.array([[0, 0, 2.0, -40], [0, 2.0, 0, -60], [3.0, 0, 0, 9], [0, 0, 0, 1]]),
}
AXES["turned"] = np.array([[0.99, -0.14, 0, 0], [0.14, 0.99, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]) @ AXES["LPS"]
pytestmark = pytest.mark.slow


def ct(shape):
    """Draw something that is smooth, and different in each place, in HU."""
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, size) for size in shape), indexing="ij")
    body = 60 * np.sin(5 * x + 2 * z) + 50 * np.cos(4 * y - z)
    return np.where(x**2 + y**2 < 0.8, body, -1000).astype(np.int16)


@pytest.fixture(scope="module")
def prostate(tmp_path_factory):
    return packed_untrained(BUNDLES / "prostate", tmp_path_factory.mktemp("prostate"), pixel_mm=3.0)


def numbers_of(array):
    return set(np.unique(array).tolist())


def painted(folder, labels):
    """Join masks that the bundle wrote, the later label on top; return the map and its affine."""
    found = 0
    for number, label in enumerate(labels, start=1):
        image = nib.load(folder / f"{label}.nii.gz")
        found = np.where(np.asarray(image.dataobj) > 0, number, found)
    return found, image.affine


ORGANS = ["Rectum", "Bladder", "Femur_L", "Femur_R", "CTV"]


@pytest.mark.parametrize("axes", list(AXES))
def test_a_ct_as_nifti_comes_back_on_its_own_grid(prostate, tmp_path, axes):
    shape = (40, 44, 6) if axes != "SAR" else (6, 40, 44)
    path = tmp_path / "2_ct.nii.gz"
    save_volume(path, ct(shape), AXES[axes])
    data, array, affine = infer(prostate, str(path), device="cpu", model="prostate")
    out = without_options(prostate, path, cache_dir=str(tmp_path), formats=["nifti"])
    folder = out / "2_ct" / "nifti"
    expected, own_affine = painted(folder, ORGANS)
    assert len(numbers_of(expected)) > 2  # of a network that was not trained, but not empty
    assert np.array_equal(array, expected)
    assert np.allclose(affine, AXES[axes])
    assert np.allclose(affine, own_affine)
    dose = np.asarray(nib.load(folder / "dose.nii.gz").dataobj)
    assert np.allclose(data["dose"][0].array, dose, atol=1e-4)
    assert data["result"]["dose"]["max"] == pytest.approx(float(dose.max()), abs=1e-4)
    assert data["result"]["oar"]["labels"] == {str(at): name for at, name in enumerate(ORGANS, start=1)}
    assert (data["model"], data["device"]) == ("prostate", "cpu")  # what the request said is still there


def test_a_dicom_series_comes_back_in_columns_rows_and_slices(prostate, tmp_path):
    patient = Patient(rows=60, columns=66, slices=7, pixel_mm=(1.7, 1.5))
    write_ct(patient, tmp_path / "in")
    (tmp_path / "flat").mkdir()
    for number, path in enumerate(sorted(each for each in tmp_path.glob("in/**/*") if each.is_file())):
        path.rename(tmp_path / "flat" / f"{number}.dcm")
    data, array, affine = infer(prostate, str(tmp_path / "flat"))
    assert array.shape == (66, 60, 7)
    from monai.transforms import LoadImage

    image = LoadImage(reader="ITKReader", image_only=True)(tmp_path / "flat")
    assert tuple(image.shape) == array.shape
    assert np.allclose(image.affine, affine, atol=1e-3)
    assert data["dose"].shape == (1, 66, 60, 7)


def test_an_image_in_memory_is_as_good_as_its_file(prostate, tmp_path):
    path = tmp_path / "ct.nii.gz"
    save_volume(path, ct((40, 44, 6)), AXES["LPS"])
    _, expected, _ = infer(prostate, str(path))
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ AXES["LPS"]
    for affine, space, axis in ((AXES["LPS"], "RAS", 0), (lps, "LPS", -1)):
        values = np.expand_dims(ct((40, 44, 6)), axis)
        image = MetaTensor(torch.from_numpy(values), affine=torch.from_numpy(affine), meta={"space": space})
        _, array, found = infer(prostate, image)
        assert np.array_equal(array, expected)
        assert np.allclose(found, AXES["LPS"])


@pytest.mark.parametrize("name", ["2: CT Pelvis 3mm", "Müller", "x" * 90])
def test_a_name_that_cannot_be_an_id_is_no_reason_to_refuse_a_file(prostate, tmp_path, name):
    path = tmp_path / f"{name}.nii.gz"
    save_volume(path, ct((40, 44, 6)), AXES["LPS"])
    data, array, affine = infer(prostate, str(path))
    assert array.shape == (40, 44, 6)
    assert np.allclose(affine, AXES["LPS"])
    assert data["image_path"] == str(path)


def test_outputs_that_were_not_taken_out_of_their_batch_give_the_same(prostate, tmp_path):
    from monai.bundle import ConfigParser

    path = tmp_path / "ct.nii.gz"
    save_volume(path, ct((40, 44, 6)), AXES["RAS"])
    config = ConfigParser.load_config_file(str(prostate / "configs" / "inference.yaml"))
    parser = ConfigParser({**config, "bundle_root": str(prostate)})
    data = parser.get_parsed_content("preprocessing")({"image": str(path)})
    network = parser.get_parsed_content("network_def").eval()
    network.load_state_dict(torch.load(prostate / "models" / "model.pt", weights_only=True))
    assert [name for name, value in data.items() if isinstance(value, torch.Tensor)] == ["image"]
    with torch.no_grad():
        outputs = parser.get_parsed_content("inferer")(inputs=data["image"][None], network=network)
    _, expected, _ = infer(prostate, str(path))
    answers = parser.get_parsed_content("postprocessing")({**outputs, **data})  # as MONAI Deploy joins them
    assert np.array_equal(answers["pred"][0].array, expected)


def test_a_workflow_s_ids_do_it_too(prostate, tmp_path, monkeypatch):
    path = tmp_path / "ct.nii.gz"
    save_volume(path, ct((40, 44, 6)), AXES["RAS"])
    workflow = ConfigWorkflow(
        str(prostate / "configs" / "inference.yaml"), workflow_type="infer", bundle_root=str(prostate), device="cpu"
    )
    workflow.initialize()
    sample = workflow.preprocessing({"image": str(path)})
    with torch.no_grad():
        outputs = workflow.inferer(sample["image"][None], workflow.network_def.eval())
    answers = workflow.postprocessing({**sample, "pred": outputs})
    _, expected, _ = infer(prostate, str(path))
    assert np.array_equal(answers["pred"][0].array, expected)


def test_an_openkbp_network_takes_a_ct_as_nifti(tmp_path):
    bundle = packed_untrained(BUNDLES / "openkbp", tmp_path)
    path = tmp_path / "ct.nii.gz"
    save_volume(path, ct((50, 44, 5)), AXES["LPS"])
    data, array, affine = infer(bundle, str(path))
    out = without_options(bundle, path)
    expected, _ = painted(out / "ct" / "native_grid", ["Brainstem", "SpinalCord", "RightParotid", "LeftParotid"])
    assert len(numbers_of(expected)) > 2
    assert np.array_equal(array, expected)
    assert np.allclose(affine, AXES["LPS"])
    dose = np.asarray(nib.load(out / "ct" / "native_grid" / "dose.nii.gz").dataobj)
    assert np.allclose(data["dose"][0].array, dose, atol=1e-4)


def test_a_jpeg_comes_back_in_its_own_columns_and_rows(tmp_path):
    bundle = packed_untrained(BUNDLES / "ham10000", tmp_path, image_size=[48, 64])
    y, x = np.mgrid[0:90, 0:130] / 90
    rgb = np.stack([120 + 90 * np.sin(9 * x), 110 + 90 * np.cos(7 * y), 60 + 60 * np.sin(5 * x * y)], -1)
    path = tmp_path / "lesion.jpg"
    Image.fromarray(rgb.astype(np.uint8)).save(path)
    data, array, affine = infer(bundle, str(path))
    assert affine is None
    assert array.shape == (130, 90)  # as MONAI reads images
    assert data["result_extension"] == ".png"
    assert infer(bundle, str(path), result_extension=".nrrd")[0]["result_extension"] == ".nrrd"
    out = without_options(bundle, path)
    assert np.array_equal(array.T * 255, np.array(Image.open(out / "lesion" / "lesion.png")))
    with (out / "predictions.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert data["result"]["diagnosis"] == {
        name: pytest.approx(float(row[f"diagnosis: {name}"]), abs=1e-6)
        for name in ("nv", "mel", "bkl", "bcc", "akiec", "vasc", "df")
    }


@pytest.mark.parametrize("options", [{}, {"spatial_dims": 3, "depth": 32}])
def test_a_chest_ct_comes_back_as_probabilities(tmp_path, options):
    bundle = packed_untrained(BUNDLES / "stoic", tmp_path, image_size=[64, 64], **options)
    path = tmp_path / "chest.mha"
    write_chest(draw_chest("mild", 3, (64, 64, 12)), path)
    data, array, _ = infer(bundle, str(path))
    out = without_options(bundle, path)
    with (out / "predictions.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert array.tolist() == pytest.approx([float(row["covid: covid"])], abs=1e-6)
    assert data["severe"].tolist() == pytest.approx([float(row["severe: severe"])], abs=1e-6)
    assert data["result_write_to_file"] is False
    json.dumps(data["result"])


@pytest.mark.parametrize(
    ("image", "dims", "ending"), [("rgb", 2, ".png"), ("ct", 2, ".nii.gz"), ("mr", 3, ".nii.gz"), ("mr", 3, ".mha")]
)
def test_a_bundle_made_by_new_answers_on_the_image_s_grid(tmp_path, image, dims, ending):
    tasks = ["segmentation:lesion=core,edema", "regression:dose=Gy", "classification:grade=low,high"]
    given = [word for task in tasks for word in ("--task", task)]
    made = CliRunner().invoke(
        app, ["new", "mine", *given, "--image", image, "--spatial-dims", str(dims), "--out", str(tmp_path)]
    )
    assert made.exit_code == 0, made.output
    bundle = packed_untrained(tmp_path / "mine", tmp_path / "out")
    path = tmp_path / f"p1{ending}"
    if ending == ".png":
        y, x = np.mgrid[0:90, 0:130] / 90
        Image.fromarray((120 + 90 * np.stack([np.sin(9 * x), np.cos(7 * y), x * y / 3], -1)).astype(np.uint8)).save(
            path
        )
        shape = (130, 90)
    else:
        shape = (34, 40, 36)
        import SimpleITK as sitk

        if ending == ".mha":
            volume = sitk.GetImageFromArray(ct(shape).T)
            volume.SetSpacing([2.0, 2.0, 3.0])  # in LPS
            sitk.WriteImage(volume, str(path))
        else:
            save_volume(path, ct(shape), AXES["LPS"])
    data, array, affine = infer(bundle, str(path))
    assert array.shape == shape
    assert numbers_of(array) <= {0, 1, 2}
    assert len(numbers_of(array)) > 1
    assert data["dose"].shape == (1, *shape)
    assert sum(data["result"]["grade"].values()) == pytest.approx(1)
    out = without_options(bundle, path)
    if ending == ".png":
        masks = [np.array(Image.open(out / "p1" / f"{name}.png")).T > 0 for name in ("core", "edema")]
        assert np.array_equal(array, np.where(masks[1], 2, masks[0]))
        return
    assert np.allclose(affine, AXES["LPS"])
    canonical = nib.as_closest_canonical(nib.Nifti1Image(array.astype(np.uint8), affine))
    names = sorted(path.name for path in (out / "p1").iterdir())
    found = 0
    for number, name in enumerate(("core", "edema"), start=1):
        file = next(each for each in names if each.removesuffix(".nii.gz") in (name, f"lesion_{name}"))
        mask = nib.as_closest_canonical(nib.load(out / "p1" / file))
        found = np.where(np.asarray(mask.dataobj) > 0, number, found)
    assert np.array_equal(np.asarray(canonical.dataobj), found)


@pytest.mark.parametrize("image", [None, 3, np.zeros((4, 4, 4)), torch.zeros(5, 4, 4, 4)])
def test_what_is_no_image_is_refused(prostate, image):
    with pytest.raises(DataError, match="expected a path, or a volume with its affine"):
        infer(prostate, image)
