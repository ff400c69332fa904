"""Anatomical variation of synthetic patients: sizes, filling, habitus."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ctan_monai.data.phantom.shapes import Point


@dataclass(frozen=True)
class Anatomy:
    """Measures of one patient. Positions are LPS mm from the prostate's usual center.

    The ranges are those of common anatomy: prostates of 25 to 90 cc, bladders of 80 to 450 cc, rectal widths of
    25 to 50 mm, bodies 340 to 410 mm wide. They are plausible, not fitted to patients.

    Attributes:
        bones: size of the skeleton, 1 is average.
        fat: 0 lean to 1 obese.
        prostate_mm: half axes (x, y, z).
        bladder_mm: half axes (x, y, z).
        bladder_tilt_mm: how far the bladder's center lies off the midline.
        rectum_mm: radius at five heights, foot to head.
        rectum_x_mm: sideways course at the same heights.
        gas: fraction of the rectum's inside that is gas.
        vesicle_mm: length of a seminal vesicle.
        fiducials: places of gold markers, none in most patients.
    """

    bones: float
    fat: float
    prostate_mm: Point
    bladder_mm: Point
    bladder_tilt_mm: float
    rectum_mm: Point
    rectum_x_mm: Point
    gas: float
    vesicle_mm: float
    fiducials: tuple[Point, ...]

    @property
    def prostate_top_mm(self) -> float:
        """Height where the bladder's neck sits on the prostate."""
        return 0.72 * self.prostate_mm[2]

    @property
    def bladder_center_mm(self) -> Point:
        """Center of the bladder, which rests on the prostate, leans to the front and grows upwards when it fills."""
        _, depth, height = self.bladder_mm
        front = -34.0 + 0.80 * depth  # behind the symphysis, whatever the filling
        return self.bladder_tilt_mm, min(front, -2.0), self.prostate_top_mm + 0.93 * height

    @property
    def head_mm(self) -> Point:
        """Center of the left femoral head."""
        return 90.0 * self.bones, -8.0, 27.0


def draw_anatomy(random: np.random.Generator) -> Anatomy:
    """Draw the random measures of a patient."""
    prostate_cc = float(np.exp(random.uniform(np.log(25), np.log(90))))
    mean_mm = (prostate_cc * 1000 * 3 / (4 * np.pi)) ** (1 / 3)
    shape = np.array([1.17, 0.86, 1.0]) * random.normal(1, 0.04, 3)
    prostate = mean_mm * shape / np.cbrt(shape.prod())

    bladder_cc = float(np.exp(random.uniform(np.log(80), np.log(450))))
    full = (np.log(bladder_cc) - np.log(80)) / np.log(450 / 80)
    flat = np.array([1.25, 1.02, 0.72 + 0.33 * full]) * random.normal(1, 0.05, 3)
    bladder = (bladder_cc * 1000 * 3 / (4 * np.pi)) ** (1 / 3) * flat / np.cbrt(flat.prod())

    width = random.uniform(13, 20)
    radii = np.clip(width * random.normal([0.85, 1.0, 1.15, 1.1, 0.9], 0.10), 10, 26)
    markers = _fiducials(random, prostate) if random.random() < 0.3 else ()
    return Anatomy(
        bones=float(np.clip(random.normal(1, 0.03), 0.93, 1.07)),
        fat=float(random.beta(2, 2.5)),
        prostate_mm=prostate.tolist(),
        bladder_mm=bladder.tolist(),
        bladder_tilt_mm=float(random.normal(0, 4)),
        rectum_mm=radii.tolist(),
        rectum_x_mm=random.normal([0, 0, 2, 4, 8], [1.5, 2, 4, 6, 7]).tolist(),
        gas=float(random.choice([0.0, random.uniform(0.1, 0.5)], p=[0.3, 0.7])),
        vesicle_mm=float(random.uniform(22, 34)),
        fiducials=markers,
    )


def _fiducials(
    random: np.random.Generator, prostate_mm: np.ndarray[tuple[int], np.dtype[np.float64]]
) -> tuple[Point, ...]:
    """Return the positions of three fiducials inside the prostate: left, right, apex."""
    inside = np.array([[0.45, 0.2, 0.3], [-0.45, 0.25, 0.1], [0.1, 0.3, -0.45]]) + random.normal(0, 0.06, (3, 3))
    return tuple((place * prostate_mm).tolist() for place in inside)
