"""Random loss weighting (RLW): new random weights in each step, a baseline for other weightings."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping

import numpy as np
import torch
from torch import Tensor

from ctan_monai.losses.weighting.base import Weighting
from ctan_monai.tasks import Task


class RandomWeighting(Weighting):
    """Draw new weights in each training step.

        lambda = softmax(z), z_k ~ N(0, 1)        sum_k lambda_k = 1

    The draws depend on ``seed``, the number of training steps and the task's name alone, so that they are the same on
    every process, after a resume, and in any order of the tasks.

    Args:
        tasks: the tasks.
        seed: of the draws.

    Source: Lin et al. 2022, "Reasonable effectiveness of random weighting: a litmus test for multi-task learning",
    section 3.2.

    >>> from ctan_monai.tasks import Classification, Regression
    >>> tasks = [Regression("dose", unit="Gy", scale=80.0), Classification("severe", ["severe"])]
    >>> rlw = RandomWeighting(tasks)
    >>> bool(abs(sum(rlw.weights().values()) - 1) < 1e-6)
    True
    """

    step: Tensor

    def __init__(self, tasks: Iterable[Task], *, seed: int = 0) -> None:
        super().__init__(tasks)
        self.seed = int(seed)
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))
        self._count = 0  # the same number, where reading it does not wait for the device
        self._weights = self._draw()

    def observe(self, losses: Mapping[str, Tensor], seen: Mapping[str, Tensor]) -> None:
        """Draw the weights of the step."""
        self._count += 1
        self.step.fill_(self._count)
        self._weights = self._draw()

    def weights(self) -> dict[str, float]:
        """Return the weights of the last step."""
        return dict(self._weights)

    def _draw(self) -> dict[str, float]:
        normal = [_normal(self.seed, self._count, zlib.crc32(name.encode())) for name in self.names]
        powers = np.exp(np.array(normal) - max(normal))  # (T,)
        return dict(zip(self.names, (powers / powers.sum()).tolist(), strict=True))

    def _load_from_state_dict(self, *args: object, **kwargs: object) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self._count = int(self.step)
        self._weights = self._draw()


def _normal(*entropy: int) -> float:
    return float(np.random.default_rng(np.random.SeedSequence(entropy)).standard_normal())
