"""Split conformal prediction: intervals and class sets that hold the truth as often as they say."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ctan_monai.errors import ConfigError

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


def conformal_quantile(scores: Floats, level: float = 0.9) -> float:
    """Return the bound that a new case's score stays within with at least the probability ``level``.

    It is the ceil((n + 1) * level)-th smallest of n scores, infinite where n is too small for that. The probability is
    over draws of the cases and of the new one, which must be exchangeable: of one kind, by one protocol. Without ties
    it is below level + 1 / (n + 1).

    Args:
        scores: (n,) of cases that the network was not trained on, higher is worse; nan = unknown, left out.
        level: of the interval or set.

    Raises:
        ConfigError: the level is not between 0 and 1.

    Source: Vovk, Gammerman, Shafer 2005, "Algorithmic Learning in a Random World"; Lei et al. 2018,
    "Distribution-free predictive inference for regression", algorithm 2 and theorem 2.2.

    >>> conformal_quantile(np.arange(1.0, 20.0)), conformal_quantile(np.arange(8.0))
    (18.0, inf)
    """
    if not 0 < level < 1:
        raise ConfigError("level", f"{level} was found.", "Give a number between 0 and 1, as 0.9.")
    known = np.sort(scores[~np.isnan(scores)])
    place = math.ceil(round((len(known) + 1) * level, 9))
    return math.inf if place > len(known) else float(known[place - 1])


def class_scores(probs: Floats, truth: NDArray[np.int64]) -> Floats:
    """Return the scores of cases with known classes, (n,): 1 less the probability of the true class.

    Args:
        probs: (n, K).
        truth: (n,) class index.

    Source: Sadinle, Lei, Wasserman 2019, "Least ambiguous set-valued classifiers with bounded error levels".
    """
    found: Floats = 1.0 - probs[np.arange(len(truth)), truth]
    return found


def class_sets(probs: Floats, bound: float) -> Bools:
    """Return which classes are in the sets of new cases, (n, K): those whose score stays within the bound.

    A set may hold several classes, or none: the case is then unlike those before.
    """
    found: Bools = 1.0 - probs <= bound
    return found
