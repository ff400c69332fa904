"""PCGrad: each task's gradient is projected onto the normal plane of those it conflicts with."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ctan_monai.losses.weighting.gradient import Gradients, GradientWeighting, add_up, inner_products


class PCGrad(GradientWeighting):
    """Project conflicting gradients (PCGrad) at the features that the decoders read.

    Each task's gradient g_i meets the others' in random order; where g_i . g_j < 0, it is projected onto the plane
    perpendicular to g_j. The sum of the projected gradients goes on to what the tasks share:

        g_i := g_i - min(g_i . g_j, 0) / |g_j|^2 g_j

    g_i is task i's gradient at all tensors together that at least two decoders read (0 in those that its own does not
    read). With hard parameter sharing these are all that decoders start from: the encoder's deepest features and its
    skips. With MTAN and CTAN they are the skips: there the deepest features are each task's own, and pass their task's
    gradient on as it is, as decoders' parameters do. Where nothing conflicts the result is that of equal weighting.

    The projected gradients are sums of the given ones, so inner products are all that is computed, and it does not
    wait for the device. The order depends on seed, step and the tasks' names, not on the order of the tasks.

    Args:
        tasks: the tasks.
        seed: of the order; None: the run's.

    Source: Yu et al. 2020, "Gradient surgery for multi-task learning", algorithm 1; at features as Sener and Koltun
    2018 do for MGDA ("Multi-task learning as multi-objective optimization", section 3.3).

    >>> from ctan_monai.tasks import Classification, Regression
    >>> tasks = [Regression("dose", unit="Gy", scale=80.0), Classification("severe", ["severe"])]
    >>> PCGrad(tasks).combine([{"dose": torch.tensor([1.0, 0.0]), "severe": torch.tensor([-1.0, 1.0])}])
    [tensor([0.5000, 1.5000])]
    """

    def join(self, gradients: Gradients, names: Sequence[str]) -> list[Tensor]:
        """Sum the projected gradients."""
        weights = projected_weights(inner_products(gradients, names), self._orders(names))  # (T,)
        by_name = dict(zip(names, weights.unbind(), strict=True))
        return [add_up(parts, by_name) for parts in gradients]

    def _orders(self, names: Sequence[str]) -> list[list[int]]:
        """Draw for each task the order of the others, as positions in ``names``."""
        generator, drawn = self.generator(), {}
        for name in sorted(self.names):
            shuffled = generator.permutation(sorted(self.names)).tolist()
            drawn[name] = [names.index(other) for other in shuffled if other != name and other in names]
        return [drawn[name] for name in names]


def projected_weights(products: Tensor, orders: Sequence[Sequence[int]]) -> Tensor:
    """Return the factors (T,) by which the gradients are combined into the sum of the projected ones.

    Args:
        products: (T, T) inner products of the gradients.
        orders: for each task the others, in the order in which they are met.

    >>> projected_weights(torch.tensor([[1.0, -1.0], [-1.0, 2.0]]), [[1], [0]])
    tensor([2.0000, 1.5000])
    """
    units = torch.eye(len(products), dtype=products.dtype, device=products.device)  # (T, T)
    squares = products.diagonal().clamp_min(torch.finfo(products.dtype).tiny)  # (T,), a gradient may be 0
    total = torch.zeros_like(squares)
    for task, order in enumerate(orders):
        mix = units[task]  # (T,) of the given gradients in the projected one
        for other in order:
            conflict = (products[other] * mix).sum().clamp_max(0)
            mix = mix - conflict / squares[other] * units[other]
        total = total + mix
    return total
