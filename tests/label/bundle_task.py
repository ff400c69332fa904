"""Run a packed bundle by MONAI Label's own BundleInferTask, in MONAI Label's environment.

    python tests/label/bundle_task.py PACKED IMAGE [EXTENSION]

What it writes must lie on the image's grid, and hold what the bundle's own ids give, called one by one.
"""

import json
import sys
import types
from pathlib import Path

import numpy as np
import SimpleITK as sitk

sys.path.insert(0, str(Path(__file__).parents[1] / "helpers"))


def without_torchvision():
    """Stand in for what MONAI Label imports of torchvision and does not use here, where it cannot be imported."""
    try:
        import torchvision  # noqa: F401
    except (ImportError, RuntimeError):
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        parts = {name: types.ModuleType(name) for name in ("torchvision", "torchvision.utils")}
        parts["torchvision.utils"].make_grid = parts["torchvision.utils"].save_image = None
        sys.modules.update(parts)


def main():
    """Compare both; leave with 0 if they are the same."""
    bundle, image = Path(sys.argv[1]).resolve(), sys.argv[2]
    request = {"image": image, "device": "cpu", "model": bundle.name}
    if len(sys.argv) > 3:
        request["result_extension"] = sys.argv[3]
    without_torchvision()
    from monailabel.tasks.infer.bundle import BundleInferTask

    task = BundleInferTask(str(bundle), conf={})
    assert task.is_valid()
    file, answer = task(dict(request))
    from monai_protocol import infer

    data, expected, _ = infer(bundle, image)
    print(
        json.dumps(
            {"file": str(file), "labels": task.labels, "answer": answer},
            default=str,
        )[:1500]
    )
    if not data["pred"].ndim > 1:
        assert np.allclose(file, expected, atol=1e-6)
        return
    found, given = sitk.ReadImage(file), sitk.ReadImage(image)
    assert found.GetSize()[:2] == given.GetSize()[:2]
    if given.GetDimension() == 3:
        assert np.allclose(found.GetOrigin(), given.GetOrigin(), atol=1e-3)
        assert np.allclose(found.GetDirection(), given.GetDirection(), atol=1e-4)
    array = sitk.GetArrayFromImage(found).T
    assert np.array_equal(array, expected)
    print(f"{Path(file).name}: {array.shape}, labels {np.unique(array).tolist()}, the same as by the bundle's ids")


if __name__ == "__main__":
    main()
