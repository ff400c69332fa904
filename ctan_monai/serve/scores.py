"""How unsure the network was about each image, kept in one small file that several processes may write."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from pathlib import Path

from ctan_monai.files.atomic import replacing

_logger = logging.getLogger(__name__)


class Scores:
    """Scores by image, each with the version of the network that gave it.

    Args:
        path: the file; a missing or damaged one counts as empty, since every score can be computed again.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def of(self, version: str | None = None) -> dict[str, float]:
        """Return the scores, of one version or of any."""
        return {
            image: float(score) for image, (given, score) in self._read().items() if version is None or given == version
        }

    def put(self, image: str, version: str, score: float) -> None:
        """Keep a score in the place of an earlier one."""
        content = {**self._read(), image: (version, score)}
        with replacing(self.path) as temporary:
            temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")

    def _read(self) -> dict[str, tuple[str, float]]:
        try:
            content = json.loads(self.path.read_text(encoding="utf-8"))
            return {str(image): (str(version), float(score)) for image, (version, score) in content.items()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, TypeError, AttributeError) as error:
            _logger.warning("%s cannot be read (%s); it counts as empty", self.path, error)
            return {}


def most_uncertain(images: Iterable[str], scores: dict[str, float]) -> tuple[str, float] | None:
    """Choose the image whose score is the highest; of two that are equal, the first by name.

    Returns:
        The image and its score; None if none of the images has a score.
    """
    scored = sorted((-scores[image], image) for image in set(images) if image in scores)
    return (scored[0][1], -scored[0][0]) if scored else None
