"""Predict an image with onnxruntime alone: python onnx_image.py model.onnx lesion.jpg FOLDER; masks as PNG."""

import json
import sys
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image, ImageOps
from scipy.special import expit, softmax

ACTIVATIONS = {"sigmoid": expit, "softmax": partial(softmax, axis=1), "none": np.asarray}
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
about = json.loads(session.get_modelmeta().custom_metadata_map["ctan_monai.json"])
image, own = about["image"], ImageOps.exif_transpose(Image.open(sys.argv[2])).convert("RGB")

height, width = image["size"]
values = np.array(own.resize((width, height), Image.Resampling.BILINEAR))  # (height, width, channel), 0 to 255
batch = ((values - np.array(image["mean"])) / image["std"]).transpose(2, 0, 1)[None].astype(np.float32)

for name, logits in zip(about["outputs"], session.run(list(about["outputs"]), {"image": batch}), strict=True):
    how = about["outputs"][name]
    found = ACTIVATIONS[how["activation"]](logits)[0]  # (channel, height, width), or (channel,) for the whole image
    if found.ndim == 1:
        answer = dict(zip(how["channels"], found.tolist(), strict=True))
        Path(sys.argv[3], f"{name}.json").write_text(json.dumps(answer))
        continue
    for at, label in enumerate(how["channels"]):
        inside = found.argmax(0) == at if how["threshold"] == "argmax" else found[at] >= how["threshold"]
        gray = Image.fromarray(inside.astype(np.uint8) * 255).resize(own.size, Image.Resampling.BILINEAR)
        gray.point(lambda level: 255 * (level > 127)).save(f"{sys.argv[3]}/{label}.png")
