"""Maps of the most certain kernels of a network's filter groups, for one image."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from torch import Tensor, nn

from ctan_monai.engines.distributed.processes import unwrap
from ctan_monai.files.atomic import replacing
from ctan_monai.networks.sites import recording

MAPS_FILE = "kernel_maps.npz"
_KERNELS = 2  # of each group and layer, where layers are few
_COLUMNS = 16  # maps of a group that fit on a page
_LARGEST_3D = 64  # voxels of a volume's middle along each axis
_CERTAIN = 0.5


def write_kernel_maps(network: nn.Module, image: Tensor, folder: Path) -> Path | None:
    """Write the answers of the most certain kernels of each group and layer to an image.

    A kernel's map is its answer to its own group's input, before the mask, at the image's size. A 2D network gets a
    volume's axial slice of the greatest variance, a 3D network the middle of the volume, of which the middle slice is
    kept.

    Args:
        network: any; it is put into evaluation mode.
        image: (1, C, *S).
        folder: gets kernel_maps.npz: ``image`` (H, W), the first channel; ``maps`` (N, H, W) float32; ``index``, JSON
            with layer, group, kernel and probability of each map.

    Returns:
        The file; None for a network without filter groups, or none of whose kernels has a group with a probability
        above 0.5.

    Raises:
        DataError: the file cannot be written.
    """
    inner: Any = unwrap(network)
    chosen = _certain_kernels(inner) if hasattr(inner, "group_sites") else []
    target = folder / MAPS_FILE
    if not chosen:
        target.unlink(missing_ok=True)  # of an earlier training
        return None
    plain = image.as_tensor() if isinstance(image, MetaTensor) else image
    sites, part = inner.group_sites(), _part(plain, inner.spatial_dims)
    with torch.inference_mode(), recording(inner.eval(), [site for row in sites.values() for site in row]) as found:
        inner(part.contiguous())
    groups = inner.group_names()
    maps = [found[sites[entry["layer"]][groups.index(entry["group"])]][0, entry["kernel"]] for entry in chosen]
    with replacing(target) as temporary, temporary.open("wb") as file:
        picture = _plane(part[0, 0])
        planes = np.stack([_enlarged(_plane(one), picture.shape) for one in maps])
        np.savez_compressed(file, image=picture, maps=planes, index=json.dumps(chosen))
    return target


def _certain_kernels(network: Any) -> list[dict[str, Any]]:
    """Return layer, group, kernel and probability of the most probable kernels of each group."""
    groups, found = network.group_names(), []
    count = max(1, min(_KERNELS, _COLUMNS // max(1, len(network.groupings()))))
    for layer, p in network.groupings().items():
        if p.shape[1] != len(groups):
            return []  # a trunk of one group
        best, where = p.detach().max(dim=1)
        for at, group in enumerate(groups):
            own = [int(kernel) for kernel in torch.argsort(best, descending=True, stable=True) if where[kernel] == at]
            found += [
                {"layer": layer, "group": group, "kernel": kernel, "probability": round(float(best[kernel]), 6)}
                for kernel in own[:count]
                if best[kernel] > _CERTAIN
            ]
    return found


def _part(image: Tensor, dims: int) -> Tensor:
    """Return what of an image (1, C, *S) the network gets."""
    if image.dim() == dims + 2 == 5:
        for axis in (2, 3, 4):
            size = min(image.shape[axis], _LARGEST_3D)
            image = image.narrow(axis, (image.shape[axis] - size) // 2, size)
    elif image.dim() > dims + 2:
        spread = image[0, 0].double().flatten(0, 1).var(dim=0)  # of each slice
        image = image[..., int(spread.argmax())]
    return image


def _plane(values: Tensor) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return the middle slice of a volume, or the image, as an array (H, W)."""
    plane = values[..., values.shape[-1] // 2] if values.dim() == 3 else values
    found: np.ndarray[Any, np.dtype[np.float32]] = plane.float().cpu().numpy()
    return found


def _enlarged(plane: np.ndarray[Any, Any], shape: Sequence[int]) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Bring a plane to a size by repeating pixels; layers behind a stride have fewer."""
    whole = torch.nn.functional.interpolate(torch.from_numpy(plane)[None, None], list(shape), mode="nearest")
    found: np.ndarray[Any, np.dtype[np.float32]] = whole[0, 0].numpy()
    return found
