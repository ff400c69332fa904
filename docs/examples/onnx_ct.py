"""Predict a CT with onnxruntime alone: python onnx_ct.py model.onnx ct.nii.gz FOLDER; a NIfTI for each channel."""

import json
import sys
from functools import partial

import nibabel as nib
import numpy as np
import onnxruntime
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform
from scipy.ndimage import affine_transform, gaussian_filter
from scipy.special import expit, softmax

ACTIVATIONS = {"sigmoid": expit, "softmax": partial(softmax, axis=1), "none": np.asarray}
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
about = json.loads(session.get_modelmeta().custom_metadata_map["ctan_monai.json"])
image, own = about["image"], nib.load(sys.argv[2])
linear = partial(affine_transform, order=1, mode="nearest")

turned = own.as_reoriented(ornt_transform(io_orientation(own.affine), axcodes2ornt(image["axes"])))
mm, (low, high) = np.array(turned.header.get_zooms()), image.get("spacing_range_mm", (0, 0))
wanted = mm if np.all((low <= mm[:2]) & (mm[:2] <= high)) else np.array(image["spacing_mm"], float)
factors = np.where(np.isnan(wanted), 1, wanted / mm)  # null: the slices stay where they are
change = np.diag([*factors, 1])
change[:3, 3] = (factors - 1) / 2
values = gaussian_filter(turned.get_fdata(), 0.35 * np.maximum(factors - 1, 0))  # before it shrinks
values = np.rint(linear(values, change, output_shape=np.rint(values.shape / factors).astype(int)))

((low, high),) = image["windows"].values()
slices = np.clip((values - low) / (high - low), 0, 1).transpose(2, 0, 1)[:, None].astype(np.float32)  # the batch
back = np.linalg.solve(turned.affine @ change, own.affine)  # own voxel -> the network's
for name, logits in zip(about["outputs"], session.run(list(about["outputs"]), {"image": slices}), strict=True):
    how = about["outputs"][name]
    found = ACTIVATIONS[how["activation"]](logits).transpose(1, 2, 3, 0)  # (channel, height, width, depth)
    answers = np.stack([linear(each, back, output_shape=own.shape) for each in found * how.get("scale", 1)])
    for at, channel in enumerate(how["channels"]):
        answer = np.maximum(answers[at], how.get("minimum", -np.inf))
        if "threshold" in how:
            answer = answers.argmax(0) == at if how["threshold"] == "argmax" else answer >= how["threshold"]
        nib.save(nib.Nifti1Image(answer.astype(np.float32), own.affine), f"{sys.argv[3]}/{channel}.nii.gz")
