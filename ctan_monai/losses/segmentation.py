"""Combo losses of segmentation: Dice and cross-entropy over the labels that are known for each case."""

from __future__ import annotations

from abc import abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor

from ctan_monai.errors import ConfigError
from ctan_monai.losses.base import TaskLoss, focal_factor
from ctan_monai.losses.distributed import rank_count, sum_over_ranks
from ctan_monai.losses.options import Weights, check_number, weight_per_entry
from ctan_monai.tasks import Segmentation

SMOOTH = 1e-5  # in numerator and denominator, as in monai.losses.DiceLoss


class ComboLoss(TaskLoss):
    """Compute `dice_weight` x Dice + `ce_weight` x cross-entropy over the known labels of each case.

    One unit is one label of one case. Dice over the batch is one number per label and stands for each of the cases
    that it was computed from, so Dice and cross-entropy share one count, and with everything known the mean is
    MONAI's. Dice over the batch takes its sums over all processes: it is exactly that of the global batch.

    Args:
        task: the segmentation task.
        dice_weight: factor of the Dice loss.
        ce_weight: factor of the cross-entropy.
        batch: Dice per label over the batch's cases, instead of per case. A small organ is absent from most slices,
            where Dice per slice rewards the empty answer.
        positive_weight: factor of the labels' voxels in the cross-entropy: one number, one per label, or by name.
            Small organs need it: in short runs on OpenKBP three or all of four organs stayed empty with plain
            BCE + Dice, and none with 20. The mean over voxels is not divided by the weights (as with PyTorch's
            `pos_weight`).
        focal_gamma: exponent of the focal factor in the cross-entropy; 0 is the plain one.

    Raises:
        ConfigError: an option is out of range.

    Source: CTAN, Losses (0.3 Dice + 0.7 CE). Decides: A15 (both forms, by the task's `overlapping`).
    Hybrid-MT-ESTAN's Dice is `dice_weight=1.0, ce_weight=0.0`; its focal loss is the classification's
    (`BinaryClassLoss`).
    """

    positive_weight: Tensor

    def __init__(
        self,
        task: Segmentation,
        *,
        dice_weight: float = 0.3,
        ce_weight: float = 0.7,
        batch: bool = True,
        positive_weight: Weights = 1.0,
        focal_gamma: float = 0.0,
    ) -> None:
        super().__init__(task)
        where = f"losses: {task.name}"
        self.channels, self.batch = task.channels, bool(batch)
        self.dice_weight = check_number(f"{where}.dice_weight", dice_weight)
        self.ce_weight = check_number(f"{where}.ce_weight", ce_weight)
        if self.dice_weight + self.ce_weight == 0:
            raise ConfigError(where, "dice_weight and ce_weight are both 0.", "Give one of them a positive number.")
        self.focal_gamma = check_number(f"{where}.focal_gamma", focal_gamma)
        weight = weight_per_entry(f"{where}.positive_weight", positive_weight, task.labels)
        self.register_buffer("positive_weight", weight, persistent=False)

    @abstractmethod
    def probabilities(self, logits: Tensor) -> Tensor:
        """Return the labels' probabilities, (B, L, *S)."""

    @abstractmethod
    def cross_entropy(self, logits: Tensor, truth: Tensor, present: Tensor) -> Tensor:
        """Return the mean over voxels, (B, L), or (B, 1) where the labels of a case share it."""

    def compute(self, logits: Tensor, label: Tensor, present: Tensor, region: Tensor | None) -> tuple[Tensor, Tensor]:
        """Sum the loss over known labels; the unit is one label of one case.

        Args:
            logits: (B, L, *S), or (B, L + 1, *S) with the background first if the labels exclude each other.
            label: (B, L, *S) of 0 and 1.
            present: (B, L).
            region: not used.
        """
        batch, labels, space = logits.shape[0], len(self.positive_weight), logits.shape[2:]
        self.check_shapes(
            logits=(logits.shape, (batch, self.channels, *space)),
            label=(label.shape, (batch, labels, *space)),
            present=(present.shape, (batch, labels)),
        )
        truth = label.to(logits)  # (B, L, *S)
        entropy = self.cross_entropy(logits, truth, present)  # (B, L) or (B, 1)
        dice = self._dice_units(self.probabilities(logits), truth, present)
        total = self.ce_weight * torch.where(present, entropy, 0).sum() + self.dice_weight * dice
        return total, present.sum().to(total)

    def _dice_units(self, probs: Tensor, truth: Tensor, present: Tensor) -> Tensor:
        """Sum the Dice losses of all units, a scalar."""
        overlap = (probs * truth).flatten(2).sum(-1)  # (B, L)
        sizes = probs.flatten(2).sum(-1) + truth.flatten(2).sum(-1)  # (B, L)
        known = present.to(probs)  # (B, L)
        if not self.batch:
            return torch.where(present, _dice_loss(overlap, sizes), 0).sum()
        sums = torch.stack([torch.where(present, overlap, 0), torch.where(present, sizes, 0), known])  # (3, B, L)
        overlap, sizes, cases = sum_over_ranks(sums.sum(1)).unbind()  # each (L,), of the global batch
        share = cases / rank_count()  # (L,) the processes' shares add up to the number of cases again
        return (share * _dice_loss(overlap, sizes)).sum()


class OverlappingComboLoss(ComboLoss):
    """Compute the combo loss of overlapping labels: sigmoid Dice and binary cross-entropy per label.

    Not `monai.losses.DiceCELoss(sigmoid=True)`: its cross-entropy is a softmax over the labels.

    >>> loss = OverlappingComboLoss(Segmentation("oar", ["Cord", "Stem"], overlapping=True), dice_weight=0, ce_weight=1)
    >>> total, count = loss(torch.zeros(1, 2, 4, 4), torch.ones(1, 2, 4, 4), torch.tensor([[True, False]]))
    >>> round(total.item(), 4), count.item()  # log 2 for the known label
    (0.6931, 1.0)
    """

    def probabilities(self, logits: Tensor) -> Tensor:
        """Return a sigmoid per label, (B, L, *S)."""
        return logits.sigmoid()

    def cross_entropy(self, logits: Tensor, truth: Tensor, present: Tensor) -> Tensor:
        """Return the binary cross-entropy of each label, (B, L)."""
        voxels = binary_cross_entropy(logits, truth, self.positive_weight, self.focal_gamma)  # (B, L, *S)
        return voxels.flatten(2).mean(-1)


class ExclusiveComboLoss(ComboLoss):
    """Compute the combo loss of mutually exclusive labels: softmax Dice and cross-entropy with background.

    Where a label is unknown for a case, its voxels are somewhere in what looks like background. So its probability
    is merged into the background's before the cross-entropy is taken (marginal loss): the network may see the
    organ or not, and is not taught that it is not there. With all labels known it is the plain cross-entropy, with
    none it is 0. The cross-entropy of a case counts once for each of its known labels.

    Source: Shi et al. 2021, "Marginal loss and exclusion loss for partially supervised multi-organ segmentation",
    Medical Image Analysis 70, marginal cross-entropy.

    >>> loss = ExclusiveComboLoss(Segmentation("oar", ["Cord", "Stem"]), dice_weight=0, ce_weight=1)
    >>> total, count = loss(torch.zeros(1, 3, 4, 4), torch.zeros(1, 2, 4, 4), torch.tensor([[True, False]]))
    >>> round(total.item(), 4), count.item()  # -log(1/3 + 1/3)
    (0.4055, 1.0)
    """

    def probabilities(self, logits: Tensor) -> Tensor:
        """Return the softmax without its background, (B, L, *S)."""
        return logits.softmax(1)[:, 1:]

    def cross_entropy(self, logits: Tensor, truth: Tensor, present: Tensor) -> Tensor:
        """Return the marginal cross-entropy of each case, (B, 1)."""
        ones = [1] * (logits.ndim - 2)
        log_probs = logits.log_softmax(1)  # (B, L + 1, *S)
        unknown = F.pad(~present, (1, 0), value=True)  # (B, L + 1) with the background
        only_unknown = torch.where(unknown, 0.0, -torch.inf).to(logits).reshape(*unknown.shape, *ones)
        merged = (log_probs + only_unknown).logsumexp(1, keepdim=True)  # (B, 1, *S)
        log_probs = torch.cat([merged, log_probs[:, 1:]], 1)  # (B, L + 1, *S)
        numbers = present * torch.arange(1, truth.shape[1] + 1, device=truth.device)  # (B, L) 0 for unknown labels
        index = (truth * numbers.reshape(*numbers.shape, *ones)).amax(1).long()  # (B, *S) 0 for the background
        nll = F.nll_loss(log_probs, index, reduction="none")  # (B, *S)
        weight = F.pad(self.positive_weight.to(nll), (1, 0), value=1.0)[index]  # (B, *S)
        voxels: Tensor = nll * weight * focal_factor(nll, self.focal_gamma)
        return voxels.flatten(1).mean(-1, keepdim=True)


def binary_cross_entropy(logits: Tensor, truth: Tensor, positive_weight: Tensor, focal_gamma: float) -> Tensor:
    """Compute the element-wise binary cross-entropy, with weighted positives and the focal factor.

    Args:
        logits: (B, L, *S).
        truth: (B, L, *S) of 0 and 1.
        positive_weight: (L,).
        focal_gamma: 0 for the plain loss.

    Returns:
        (B, L, *S).
    """
    nll = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")  # (B, L, *S)
    weight = positive_weight.to(nll).reshape(-1, *(1 for _ in logits.shape[2:]))  # (L, 1...)
    return nll * (1 + (weight - 1) * truth) * focal_factor(nll, focal_gamma)


def _dice_loss(overlap: Tensor, sizes: Tensor) -> Tensor:
    """Compute the soft Dice loss from the sums of p*t and of p + t, any shape."""
    return 1 - (2 * overlap + SMOOTH) / (sizes + SMOOTH)
