"""Cross-entropy losses of image-level classification: multi-class, or multi-label with one binary answer per class."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ctan_monai.errors import ConfigError
from ctan_monai.losses.base import TaskLoss, focal_factor
from ctan_monai.losses.options import Weights, check_number, weight_per_entry
from ctan_monai.losses.segmentation import binary_cross_entropy
from ctan_monai.tasks import Classification


class ExclusiveClassLoss(TaskLoss):
    """Compute the softmax cross-entropy of mutually exclusive classes.

    One unit is one case, or the weight of its class: the mean is divided by the sum of weights, as in
    `torch.nn.CrossEntropyLoss(weight)`, here also over processes.

    Args:
        task: the classification task.
        class_weight: one positive number per class, or by name; 1 counts cases equally.
        label_smoothing: fraction of the truth that is spread over all classes, in [0, 1).
        focal_gamma: exponent of the focal factor; 0 is the plain cross-entropy.

    Raises:
        ConfigError: an option is out of range.

    Source: CTAN, Losses (HAM10000).

    >>> loss = ExclusiveClassLoss(Classification("diagnosis", ["nv", "mel"]))
    >>> total, count = loss(torch.zeros(2, 2), torch.tensor([0, 1]), torch.tensor([True, True]))
    >>> round((total / count).item(), 4)  # log 2
    0.6931
    """

    class_weight: Tensor

    def __init__(
        self,
        task: Classification,
        *,
        class_weight: Weights = 1.0,
        label_smoothing: float = 0.0,
        focal_gamma: float = 0.0,
    ) -> None:
        super().__init__(task)
        where = f"losses: {task.name}"
        weight = weight_per_entry(f"{where}.class_weight", class_weight, task.classes)
        self.register_buffer("class_weight", weight, persistent=False)
        self.label_smoothing = check_number(f"{where}.label_smoothing", label_smoothing)
        if self.label_smoothing >= 1:
            raise ConfigError(f"{where}.label_smoothing", f"found {label_smoothing}.", "Give a number below 1.")
        self.focal_gamma = check_number(f"{where}.focal_gamma", focal_gamma)

    def compute(self, logits: Tensor, label: Tensor, present: Tensor, region: Tensor | None) -> tuple[Tensor, Tensor]:
        """Sum the loss over known cases; the unit is one case times the weight of its class.

        Args:
            logits: (B, K).
            label: (B,) class indices.
            present: (B,).
            region: not used.
        """
        cases, classes = logits.shape[0], len(self.class_weight)
        self.check_shapes(
            logits=(logits.shape, (cases, classes)), label=(label.shape, (cases,)), present=(present.shape, (cases,))
        )
        index = torch.where(present, label.long(), 0)  # (B,)
        weight = self.class_weight.to(logits)  # (K,)
        loss = F.cross_entropy(logits, index, weight, reduction="none", label_smoothing=self.label_smoothing)  # (B,)
        loss = loss * focal_factor(F.cross_entropy(logits, index, reduction="none"), self.focal_gamma)
        return torch.where(present, loss, 0).sum(), torch.where(present, weight[index], 0).sum()


class BinaryClassLoss(TaskLoss):
    """Compute the binary cross-entropy of each class: a finding, or multi-label classification.

    One unit is one case, with the mean over its classes.

    Args:
        task: the classification task.
        positive_weight: factor of the positives: one number, one per class, or by name.
        focal_gamma: exponent of the focal factor; 0 is the plain cross-entropy.
        focal_alpha: a in (0, 1): positives count a times and negatives 1 - a times; None: both once.

    Raises:
        ConfigError: an option is out of range.

    Source: CTAN, Losses (STOIC: binary cross-entropy after the sigmoid, which the text gives). Hybrid-MT-ESTAN 2.4:
    3 x focal loss of the classification, `focal_alpha=0.5, focal_gamma=2.0`, + Dice of the segmentation, the 3 by
    static weights. Decides: C8, the focal loss of Lin et al. 2017, eq. 5, where the paper's print lacks factors:

        -1/N sum [a t (1 - p)^gamma log p + (1 - a) (1 - t) p^gamma log(1 - p)]

    >>> loss = BinaryClassLoss(Classification("severe", ["severe"]), positive_weight=3.0)
    >>> total, count = loss(torch.zeros(2, 1), torch.tensor([[1.0], [0.0]]), torch.tensor([True, False]))
    >>> round(total.item(), 4), count.item()  # 3 log 2; the second case is unknown
    (2.0794, 1.0)
    """

    positive_weight: Tensor

    def __init__(
        self,
        task: Classification,
        *,
        positive_weight: Weights = 1.0,
        focal_gamma: float = 0.0,
        focal_alpha: float | None = None,
    ) -> None:
        super().__init__(task)
        where = f"losses: {task.name}"
        weight = weight_per_entry(f"{where}.positive_weight", positive_weight, task.classes)
        self.register_buffer("positive_weight", weight, persistent=False)
        self.focal_gamma = check_number(f"{where}.focal_gamma", focal_gamma)
        self.focal_alpha = focal_alpha
        if focal_alpha is not None:
            self.focal_alpha = check_number(f"{where}.focal_alpha", focal_alpha, above=True)
            if self.focal_alpha >= 1:
                raise ConfigError(f"{where}.focal_alpha", f"found {focal_alpha}.", "Give a number below 1.")

    def compute(self, logits: Tensor, label: Tensor, present: Tensor, region: Tensor | None) -> tuple[Tensor, Tensor]:
        """Sum the loss over known cases; the unit is one case.

        Args:
            logits: (B, K).
            label: (B, K) of 0 and 1.
            present: (B,).
            region: not used.
        """
        expected = (logits.shape[0], len(self.positive_weight))
        self.check_shapes(
            logits=(logits.shape, expected), label=(label.shape, expected), present=(present.shape, expected[:1])
        )
        truth = label.to(logits)  # (B, K)
        loss = binary_cross_entropy(logits, truth, self.positive_weight, self.focal_gamma)  # (B, K)
        if self.focal_alpha is not None:
            loss = loss * (self.focal_alpha * truth + (1 - self.focal_alpha) * (1 - truth))
        loss = torch.where(present, loss.mean(1), 0)  # (B,)
        return loss.sum(), present.sum().to(loss)
