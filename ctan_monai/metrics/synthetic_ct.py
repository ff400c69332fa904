"""How far a synthetic CT is off: MAE and PSNR in HU over body, bones and organs, and the structural similarity."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from monai.metrics.regression import compute_ssim_and_cs
from torch import Tensor

from ctan_monai.errors import ConfigError
from ctan_monai.metrics.base import NAN, Record, Tensors, check_same_shape, check_unit
from ctan_monai.metrics.device_metric import DeviceMetric, Numbers, check_finite, finite_counts, masked_mean
from ctan_monai.tasks import Regression, Segmentation, present_key, region_key

BODY, BONES, ORGANS = "body", "bones", "organs"
BONE_HU, RANGE_HU = 200.0, 4095.0
_WINDOW, _SIGMA = 11, 1.5  # Wang et al. 2004
_K1, _K2 = 0.01, 0.03


class SyntheticCTErrors(DeviceMetric):
    """Errors of a synthetic CT inside parts of the body.

    Parts are the body (the task's region; everywhere without one), bones (above 200 HU in the real CT, in the body),
    organs (the union of the labels that are known, in the body) and each organ. For a task named ``ct``, per case and
    averaged over cases, nan where a case has no such part:

    * ``ct_mae_<part>``: mean absolute error, HU.
    * ``ct_psnr_<part>``: 10 log10(R^2 / mean squared error), dB; ``ct_psnr_range`` is R, HU. PSNR values compare with
      others of the same R only. With no error at all it is infinite, and counts as unknown.
    * ``ct_ssim_body``: structural similarity (MONAI's, 11 x 11 Gaussian window, range R) on axial slices, mean over
      the voxels of the body. Outside the body both images are set to -1000 HU. nan for images of another number of axes
      than three.

    Args:
        ct: the task, in HU per voxel.
        organs: the segmentation whose labels are the organs.
        bone_hu: what is bone in the real CT.
        range_hu: R.

    Raises:
        ConfigError: the task is not in HU per voxel, a label is called like another part, or the range is no positive
            number.

    Source: SFG, section 3 (parts); docs/adr/0031. Decides: B12 (R, bones, organs).
    """

    def __init__(
        self, ct: Regression, organs: Segmentation, bone_hu: float = BONE_HU, range_hu: float = RANGE_HU
    ) -> None:
        super().__init__()
        check_unit("SyntheticCTErrors: ct", ct, "HU", "task of the CT")
        if twice := sorted({BODY, BONES, ORGANS} & set(organs.labels)):
            raise ConfigError("SyntheticCTErrors: organs", f"{twice} is a part of its own.", "Rename the label.")
        if not range_hu > 0:
            raise ConfigError("range_hu", f"{range_hu} is not positive.", "Give a number of HU, such as 4095.")
        self.ct, self.organs, self.bone_hu, self.range_hu = ct, organs, float(bone_hu), float(range_hu)
        parts = (BODY, BONES, ORGANS, *organs.labels)
        self._keys = [f"{ct.name}_{measure}_{part}" for measure in ("mae", "psnr") for part in parts]
        self._ssim = f"{ct.name}_ssim_{BODY}"

    def numbers(self, case: str, prediction: Tensors, target: Tensors, spacing_mm: Sequence[float]) -> Tensors:
        """Compute mean absolute and squared errors of each part of one case.

        Raises:
            DataError: shapes differ.
        """
        name = self.ct.name
        predicted, real = (both[name].detach().double() for both in (prediction, target))  # (1, *S)
        check_same_shape(name, case, predicted, real)
        body, error = self._body(case, target, real), predicted - real
        parts = self._parts(case, real, body, target).values()
        return {
            "prediction": finite_counts(predicted),
            "label": finite_counts(real),
            "present": target[present_key(self.ct)],
            "absolute": torch.stack([masked_mean(error.abs(), inside) for inside in parts]),
            "squared": torch.stack([masked_mean(error.square(), inside) for inside in parts]),
            "ssim": self._similarity(predicted, real, body),
        }

    def record(self, case: str, numbers: Numbers) -> Record:
        """Return the errors of one case, nan where the CT is unknown.

        Raises:
            DataError: values are not finite.
        """
        for what in ("prediction", "label"):
            check_finite(f"{what} of {self.ct.name}", case, numbers[what])
        if not numbers["present"][0]:
            return dict.fromkeys([*self._keys, self._ssim], NAN)
        psnr = [10 * math.log10(self.range_hu**2 / each) if each > 0 else NAN for each in numbers["squared"]]
        found = dict(zip(self._keys, [*numbers["absolute"], *psnr], strict=True))
        return {**found, self._ssim: numbers["ssim"][0]}

    def _body(self, case: str, target: Tensors, real: Tensor) -> Tensor:
        region = target.get(region_key(self.ct))
        if region is None:
            return torch.ones_like(real, dtype=torch.bool)
        check_same_shape(region_key(self.ct), case, region, real)
        return region.detach() > 0

    def _parts(self, case: str, real: Tensor, body: Tensor, target: Tensors) -> dict[str, Tensor]:
        """Return all parts (1, *S); what is unknown is empty."""
        masks = target[self.organs.name].detach() > 0  # (L, *S)
        check_same_shape(self.organs.name, case, masks[:1], real)
        present = target[present_key(self.organs)]  # (L,)
        organs = masks & body & present.reshape(-1, *[1] * (real.ndim - 1))
        union = organs.any(0, keepdim=True)
        return {BODY: body, BONES: body & (real > self.bone_hu), ORGANS: union,
                **dict(zip(self.organs.labels, torch.split(organs, 1), strict=True))}  # fmt: skip

    def _similarity(self, predicted: Tensor, real: Tensor, body: Tensor) -> Tensor:
        """Return the mean over the body of the similarity of axial slices, along the last axis."""
        if real.ndim != 4:
            return torch.full_like(real[(0,) * real.ndim], NAN)
        images = [torch.where(body, both, -1000.0).movedim(-1, 0) for both in (predicted, real)]  # (D, 1, H, W)
        rim = _WINDOW // 2
        first, second = (F.pad(image, (rim,) * 4, mode="replicate") for image in images)
        found, _ = compute_ssim_and_cs(
            first,
            second,
            spatial_dims=2,
            data_range=self.range_hu,
            kernel_size=(_WINDOW, _WINDOW),
            kernel_sigma=(_SIGMA, _SIGMA),
            k1=_K1,
            k2=_K2,
        )  # (D, 1, H, W)
        return masked_mean(found.movedim(0, -1), body)

    def compute(self) -> dict[str, float]:
        """Return the means over cases, and the range of the PSNR."""
        found = {key: self.mean(key) for key in [*self._keys, self._ssim]}
        return {**found, f"{self.ct.name}_psnr_range": self.range_hu}
