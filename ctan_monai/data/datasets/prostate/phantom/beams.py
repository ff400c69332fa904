"""The dose that fixed fields around the patient bring: apertures shaped to the target, depth, penumbra.

Nine coplanar fields as in step-and-shoot IMRT. A field is an image seen from the source, fluence by height and by
place across the beam; as rays are parallel and the body is convex, a voxel's fluence and the skin above it are two
look-ups.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter

from ctan_monai.data.datasets.prostate.phantom.shapes import Floats

FIELDS = 9
_ATTENUATION_PER_MM = 0.0042  # 6 MV in water at depth, a little less than 0.005 for the scatter that it carries
_BUILD_UP_MM, _SKIN_DOSE = 5.0, 0.45
_MARGIN_MM, _PENUMBRA_MM = 5.0, 4.0  # aperture beyond the target; standard deviation of its edge
_BIN_MM = 2.0
_SPARING = 0.30  # how far fluence is lowered where a ray crosses an organ at risk as well as the target
_EVEN = 0.85  # how far fields are weighted to bring the same to the target: 1 all the same, 0 by depth
Mask = npt.NDArray[np.bool_]


def beam_dose(
    body: Mask, target: Mask, spared: Mask, axes_mm: tuple[Floats, Floats, Floats], fields: int = FIELDS
) -> Floats:
    """Return the sum of fields in arbitrary units.

    Args:
        body: (k, r, c) inside the skin.
        target: (k, r, c) what the apertures follow.
        spared: (k, r, c) organs at risk outside the target.
        axes_mm: z, y, x.
        fields: number of fields, the first from the front, spread evenly.

    Returns:
        (k, r, c) float32, 0 outside the body.
    """
    total = np.zeros(body.shape, np.float32)
    for angle in np.arange(fields) * (2 * np.pi / fields):
        total += _field(body, target, spared, axes_mm, float(angle))
    found: Floats = np.where(body, total, np.float32(0))
    return found


def _field(body: Mask, target: Mask, spared: Mask, axes_mm: tuple[Floats, Floats, Floats], angle: float) -> Floats:
    """Return the dose of one field; angle 0 comes from the front, a quarter turn from the patient's left."""
    z, y, x = axes_mm
    across = (x * np.cos(angle) + y[:, None] * np.sin(angle)).astype(np.float32)  # (r, c) along the leaves
    deep = (y[:, None] * np.cos(angle) - x * np.sin(angle)).astype(np.float32)  # (r, c) away from the source
    place = (across - across.min()) / np.float32(_BIN_MM)
    first = place.astype(np.intp)
    share = place - first
    bins = int(first.max()) + 2
    skin = np.full((len(z), bins), np.inf, np.float32)  # (k, bins) depth coordinate where the ray enters
    crosses = {name: np.zeros((len(z), bins), np.float32) for name in ("target", "spared")}
    for k in range(len(z)):
        np.minimum.at(skin[k], first[body[k]], deep[body[k]])
        crosses["target"][k] = np.bincount(first[target[k]], minlength=bins)[:bins]
        crosses["spared"][k] = np.bincount(first[spared[k]], minlength=bins)[:bins]
    fluence = _fluence(crosses["target"], crosses["spared"], float(z[1] - z[0]))
    skin = np.minimum(skin, np.roll(skin, 1, axis=1))
    skin[~np.isfinite(skin)] = 0
    low, high = first.ravel(), (first + 1).ravel()
    lit = fluence[:, low] * (1 - share.ravel()) + fluence[:, high] * share.ravel()  # (k, r * c)
    depth = np.maximum(deep.ravel() - skin[:, low], 0)
    dose = lit * np.exp(-_ATTENUATION_PER_MM * depth) * (1 - (1 - _SKIN_DOSE) * np.exp(-depth / _BUILD_UP_MM))
    found: Floats = dose.reshape(body.shape).astype(np.float32)
    found /= float(found[target].mean()) ** _EVEN
    return found


def _fluence(target: Floats, spared: Floats, slice_mm: float) -> Floats:
    """Return (k, bins): open over the target and a margin, lower behind or before an organ at risk, soft edges."""
    voxel_mm = (slice_mm, _BIN_MM)
    hit = gaussian_filter((target > 0).astype(np.float32), [_MARGIN_MM / s for s in voxel_mm])
    aperture = (hit > 0.16).astype(np.float32)
    burden = spared / np.maximum(target + spared, 1)
    burden = gaussian_filter(burden.astype(np.float32), [3.0 / s for s in voxel_mm])
    found: Floats = gaussian_filter(aperture * (1 - _SPARING * burden), [_PENUMBRA_MM / s for s in voxel_mm])
    return found
