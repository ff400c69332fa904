"""Inference whose answers are known by formula: the network is left out, everything around it runs."""

from __future__ import annotations

import numpy as np
import torch
from dicom_phantoms import STRUCTURES, Patient, dose_at
from monai.data import DataLoader, Dataset
from monai.inferers import Inferer
from torch import nn

from ctan_monai.data.datasets.dicom_rt.inference import dicom_inference_list
from ctan_monai.engines.loop.evaluator import MultiTaskEvaluator
from ctan_monai.engines.loop.prepare import PrepareMultiTaskBatch
from ctan_monai.engines.predictions.dicom_writer import WriteDicom
from ctan_monai.tasks import Regression, Segmentation
from ctan_monai.transforms import LoadCaseFiled

ORGANS = Segmentation("oar", list(STRUCTURES), overlapping=True, mirror_pairs=[["Femur_L", "Femur_R"]])
EXCLUSIVE = Segmentation("oar", list(STRUCTURES), mirror_pairs=[["Femur_L", "Femur_R"]])
DOSE = Regression("dose", "Gy", 80.0, nonnegative=True)
TASKS = (ORGANS, DOSE)


def depth_mm(shapes, points):
    """About how deep points (*S, 3) lie inside of ellipsoids, negative outside."""
    each = [
        (1 - np.sqrt((((points - np.array(s.center)) / np.array(s.axes)) ** 2).sum(-1))) * min(s.axes) for s in shapes
    ]
    return np.max(each, axis=0)


class KnownAnatomy(Inferer):
    """Answers with the logits of a patient whose shapes are ellipsoids, wherever the image's affine says it lies.

    Args:
        tasks: a Segmentation of STRUCTURES and a Regression.
        without: structures that are not found.
    """

    def __init__(self, tasks=TASKS, without=()):
        self.tasks, self.without = tasks, set(without)

    def __call__(self, inputs, network, *args, **kwargs):
        affine_ras = np.asarray(inputs.affine).reshape(-1, 4, 4)[0]
        points = Patient.points(inputs.shape[2:], affine_ras)
        depth = [
            np.full(points.shape[:-1], -9.0) if name in self.without else depth_mm(shapes, points)
            for name, shapes in STRUCTURES.items()
        ]
        labels = 0.5 * np.stack(depth)  # as unsure near the edge as networks are
        organs, dose = self.tasks
        if not organs.overlapping:
            labels = np.concatenate([np.zeros_like(labels[:1]), labels])
        answers = {organs.name: labels, dose.name: dose_at(points)[None] / dose.scale}
        return {name: torch.from_numpy(values[None]).float() for name, values in answers.items()}


class Nothing(nn.Module):
    """A network that is never asked."""

    def __init__(self, tasks):
        super().__init__()
        self.tasks, self.spatial_dims, self.independent_tasks = tuple(tasks), 2, False
        self.anchor = nn.Parameter(torch.zeros(()))


def predict(source, folder, tasks=TASKS, without=(), pixel_mm=None, repair=False, **options):
    """List CTs, answer with the known anatomy, and write; returns the folder of predictions."""
    items = dicom_inference_list(source, folder / "cache", pixel_mm, repair=repair, workers=1, progress=False)
    out = folder / "out"
    MultiTaskEvaluator(
        "cpu",
        DataLoader(Dataset(items, LoadCaseFiled(tasks)), batch_size=1),
        Nothing(tasks),
        prepare_batch=PrepareMultiTaskBatch(tasks, require_labels=False),
        inferer=KnownAnatomy(tasks, without),
        val_handlers=[WriteDicom(tasks, out, **options)],
    ).run()
    return out


def write_ct(patient, folder):
    """Write the CT of a patient, and nothing else."""
    return patient.write(folder, rtstruct=None, rtplan=None, rtdose=None)
