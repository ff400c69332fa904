"""A CT from NIfTI gets its answers on its own voxels, whatever grid the network worked on."""

import nibabel as nib
import numpy as np
from dicom_phantoms import STRUCTURES, Patient, dose_at
from dicom_validity import dice
from known_anatomy import TASKS, KnownAnatomy, Nothing
from monai.data import DataLoader, Dataset

from ctan_monai.data.cases.cache import CASE_SUFFIX, write_case
from ctan_monai.data.cases.case import Case
from ctan_monai.data.datasets.openkbp.datalist import openkbp_inference_list
from ctan_monai.engines.loop.evaluator import MultiTaskEvaluator
from ctan_monai.engines.loop.prepare import PrepareMultiTaskBatch
from ctan_monai.engines.predictions.source_grid_writer import WriteOnNativeGrid
from ctan_monai.transforms import LoadCaseFiled

AFFINE_RAS = np.array([[-1.0, 0, 0, 60], [0, 0, 1.2, -40], [0, 2.5, 0, -38], [0, 0, 0, 1]])  # x, z, y
SHAPE = (120, 30, 66)


def test_masks_and_dose_lie_on_the_voxels_of_the_file(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    ct = np.full(SHAPE, -1000, np.int16)
    ct[30:90, :, 10:50] = 40
    nib.save(nib.Nifti1Image(ct, AFFINE_RAS), folder / "fine.nii.gz")
    alike = {"ct": np.arange(60, dtype=np.int16).reshape(5, 4, 3)}
    write_case(folder / f"cached{CASE_SUFFIX}", Case("cached", alike, {}, np.diag([4.0, 4, 3, 1])))
    items = openkbp_inference_list(folder, tmp_path / "cache")
    MultiTaskEvaluator(
        "cpu",
        DataLoader(Dataset(items, LoadCaseFiled(TASKS)), batch_size=1),
        Nothing(TASKS),
        prepare_batch=PrepareMultiTaskBatch(TASKS, require_labels=False),
        inferer=KnownAnatomy(),
        val_handlers=[WriteOnNativeGrid(TASKS, tmp_path / "out")],
    ).run()
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["fine"]  # the cached case is on its own grid
    points = Patient.points(SHAPE, AFFINE_RAS)
    for name, shapes in STRUCTURES.items():
        image = nib.load(tmp_path / "out" / "fine" / "native_grid" / f"{name}.nii.gz")
        np.testing.assert_allclose(image.affine, AFFINE_RAS, atol=1e-4)
        expected = np.any([shape.inside(points) for shape in shapes], axis=0)
        assert dice(np.asanyarray(image.dataobj) > 0, expected) >= 0.93, name  # pixels of 3.9 mm
    dose_gy = np.asanyarray(nib.load(tmp_path / "out" / "fine" / "native_grid" / "dose.nii.gz").dataobj)
    assert np.abs(dose_gy - dose_at(points))[5:-5, :, 5:-5].max() < 1e-3
