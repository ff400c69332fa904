"""Gradient aggregators of the optional package torchjd."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from ctan_monai.errors import ConfigError, install
from ctan_monai.losses.options import check_number
from ctan_monai.losses.weighting.gradient import Gradients, GradientWeighting, add_up
from ctan_monai.tasks import Task

_TORCHJD = "'torchjd[cagrad,quadprog-projector]>=0.18,<0.19'"


class TorchjdWeighting(GradientWeighting):
    """Combine the tasks' gradients by an aggregator of torchjd, at the features that several decoders read.

    Its Jacobian has a row for each observed task and a column for each entry of these features, 0 where the task does
    not read it. Most aggregators return something like a mean; here it is multiplied such that T equal gradients give
    T times one of them, as under equal weighting, or learning rate and clipping would mean something else for what
    tasks share than for their decoders.

    Attributes:
        aggregator: its name in `torchjd.aggregation`.
        of_mean: the aggregator returns g where all gradients are g, not T g.

    Args:
        tasks: the tasks.
        seed: of what is random.
        options: of the aggregator.

    Raises:
        ConfigError: torchjd or what this aggregator needs is not installed.
    """

    aggregator: ClassVar[str]
    of_mean: ClassVar[bool] = True

    def __init__(self, tasks: Iterable[Task], *, seed: int | None = None, **options: Any) -> None:
        super().__init__(tasks, seed=seed)
        try:
            import torchjd.aggregation

            self._aggregate = getattr(torchjd.aggregation, self.aggregator)(**options)
        except (ImportError, AttributeError) as error:
            raise ConfigError(
                "weighting",
                f"{self.aggregator} comes with torchjd, which cannot be used here ({error}).",
                f"Run {install('mtl', _TORCHJD)}; or use --weighting pcgrad, which needs nothing.",
            ) from error

    def joined_tasks(self) -> list[str]:
        """Return the tasks that were observed in the step: a row of zeros would change the Jacobian's mean. Waits."""
        return [name for name in super().joined_tasks() if bool(self._seen[name])]

    def join(self, gradients: Gradients, names: Sequence[str]) -> list[Tensor]:
        """Apply the aggregator to the Jacobian."""
        like = [next(iter(parts.values())) for parts in gradients]
        rows = [
            torch.cat([parts[name].flatten() if name in parts else one.new_zeros(one.numel()) for parts, one in both])
            for name in names
            for both in [list(zip(gradients, like, strict=True))]
        ]
        jacobian = torch.stack(rows)  # (T, n)
        jacobian = jacobian.to(torch.promote_types(jacobian.dtype, torch.float32))
        if not bool(jacobian.isfinite().all()):  # the trainer skips the step, or ends with the cases' names
            return [add_up(parts, {}) for parts in gradients]
        joined = self._joined(jacobian) * (len(names) if self.of_mean else 1)  # (n,)
        flat = torch.split(joined, [one.numel() for one in like])
        return [part.view(one.shape).to(one) for part, one in zip(flat, like, strict=True)]

    def _joined(self, jacobian: Tensor) -> Tensor:
        """Call the aggregator with torch's random generators seeded for this step, and restore them."""
        devices = [jacobian.device] if jacobian.is_cuda else []
        with torch.random.fork_rng(devices):
            torch.manual_seed(int(self.generator().integers(2**63)))
            joined: Tensor = self._aggregate(jacobian)
        return joined


class UPGrad(TorchjdWeighting):
    """Project each gradient so that it conflicts with none, then sum. Source: Quinton, Rey 2024."""

    aggregator = "UPGrad"


class MGDA(TorchjdWeighting):
    """Find the convex combination of minimum norm. Source: Desideri 2012; Sener, Koltun 2018."""

    aggregator = "MGDA"


class AlignedMTL(TorchjdWeighting):
    """Make the gradients orthogonal and of equal norm. Source: Senushkin et al. 2023, algorithm 1."""

    aggregator = "AlignedMTL"


class IMTLG(TorchjdWeighting):
    """Find the combination with equal projections onto all gradients. Source: Liu et al. 2021, section 3.1."""

    aggregator = "IMTLG"


class GradDrop(TorchjdWeighting):
    """Randomly drop the gradients of one sign in each entry. Source: Chen et al. 2020, algorithm 1."""

    aggregator, of_mean = "GradDrop", False


class CAGrad(TorchjdWeighting):
    """Find the direction near the mean gradient in which the worst task improves most.

    Divided by 1 + c, so that equal gradients add up as with the other methods.

    Args:
        tasks: the tasks.
        seed: not used; nothing is random here.
        c: how far from the mean, as a fraction of its length, below 1.

    Source: Liu et al. 2021, "Conflict-averse gradient descent for multi-task learning", eq. 1.
    """

    aggregator = "CAGrad"

    def __init__(self, tasks: Iterable[Task], *, seed: int | None = None, c: float = 0.4) -> None:
        self.c = check_number("weighting: cagrad.c", c)
        super().__init__(tasks, seed=seed, c=self.c)

    def _joined(self, jacobian: Tensor) -> Tensor:
        return super()._joined(jacobian) / (1 + self.c)
