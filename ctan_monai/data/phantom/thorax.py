"""Thorax of synthetic patients: lungs, heart, spine with cord, airways, breasts, and targets in the left breast."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ctan_monai.data.phantom.body import draw_couch
from ctan_monai.data.phantom.grid import Block, Canvas, PhantomGrid
from ctan_monai.data.phantom.organs import Surfaces, signed_distance
from ctan_monai.data.phantom.shapes import Coordinates, Floats, along, join, smooth_field

STRUCTURES = (
    "External", "Heart", "Lung_L", "Lung_R", "SpinalCord", "Esophagus", "Trachea", "Breast_L", "CTV", "PTV",
)  # fmt: skip
_SKIN_HU, _FAT_HU, _MUSCLE_HU, _BLOOD_HU, _LUNG_HU, _AIR_HU = 5.0, -98.0, 52.0, 45.0, -780.0, -970.0
_BONE_HU, _SPONGY_HU, _FLUID_HU, _CORD_HU, _GLAND_HU = 750.0, 250.0, 12.0, 38.0, 25.0
_WALL_MM = 17.0  # from the outside of the muscles to the pleura
_BELOW_SKIN_MM, _MARGIN_MM = 5.0, 7.0  # what targets leave of the skin; CTV to PTV
_CORD_MM, _ESOPHAGUS_MM, _TRACHEA_MM = 5.5, 8.0, 9.0


@dataclass(frozen=True)
class Thorax:
    """Measures of one patient. Positions are LPS mm from the middle of the chest.

    Plausible, not fitted to patients: chests 310 to 350 mm wide without fat, hearts of 450 to 800 cc.

    Attributes:
        bones: size of the skeleton, 1 is average.
        fat: 0 lean to 1 obese.
        breast: size of the breasts, 1 is average.
        heart_mm: half axes (x, y, z).
        heart_center_mm: of the heart.
        breath_mm: how far the diaphragm is lowered.
    """

    bones: float
    fat: float
    breast: float
    heart_mm: Sequence[float]
    heart_center_mm: Sequence[float]
    breath_mm: float


def draw_measures(random: np.random.Generator) -> Thorax:
    """Draw the random measures of a patient."""
    return Thorax(
        bones=float(np.clip(random.normal(1, 0.03), 0.94, 1.06)),
        fat=float(random.beta(2, 2.5)),
        breast=float(random.uniform(0.88, 1.15)),
        heart_mm=(np.array([52.0, 44.0, 56.0]) * random.normal(1, 0.05, 3).clip(0.9, 1.1)).tolist(),
        heart_center_mm=(np.array([26.0, -26.0, -20.0]) + random.normal(0, 3, 3)).tolist(),
        breath_mm=float(random.uniform(-8, 12)),
    )


def draw_thorax(canvas: Canvas, body: Thorax, random: np.random.Generator) -> Surfaces:
    """Paint a chest, later organs over earlier ones.

    Returns:
        For each of `STRUCTURES` the part of the grid and, there, the distance to the surface in mm, negative inside.
    """
    block = canvas.block((-215, -150, -400), (215, 150, 400))
    at, axes_mm = canvas.at(block), canvas.axes_of(block)
    texture = smooth_field(random, axes_mm, (7.0, 7.0, 7.0))
    muscle = _chest(at, body)
    breasts = {side: _breast(at, body, side) for side in (-1, 1)}
    outline = _outline(at, body, muscle, breasts)
    draw_couch(canvas, block, outline)
    canvas.paint(outline, _SKIN_HU, block)
    canvas.paint(outline + 2, _FAT_HU + 5 * texture, block)
    for breast in breasts.values():
        gland = np.maximum(breast + 9, 9 * (0.2 - texture))
        canvas.paint(np.maximum(gland, outline + 6), _GLAND_HU, block)
    canvas.paint(muscle, _MUSCLE_HU + 6 * texture, block)
    _draw_bones(canvas, block, body, muscle)
    cavity = muscle + np.float32(_WALL_MM)
    canvas.paint(cavity, -20 + 25 * texture, block)
    organs = _draw_organs(canvas, block, body, cavity, texture)
    left = np.maximum(np.maximum(breasts[1], outline + _BELOW_SKIN_MM), 1 - muscle)
    ctv, ptv = _targets(left, outline, canvas.grid)
    found = {"External": outline, **organs, "Breast_L": left, "CTV": ctv, "PTV": ptv}
    return {name: (block, found[name].astype(np.float32)) for name in STRUCTURES}


def draw_others(canvas: Canvas, names: Sequence[str], seed: Sequence[int], outline: tuple[Block, Floats]) -> Surfaces:
    """Paint an ellipsoid for each of some structures, at a place that its name determines, moved a little per patient.

    Names that end in _L lie on the left, in _R on the right, others near the middle.

    Args:
        canvas: to paint on.
        names: of the structures.
        seed: of the patient.
        outline: of the body, which holds them.
    """
    found: Surfaces = {}
    block, distance = outline
    at = canvas.at(block)
    for name in names:
        base = name[:-2] if name[-2:] in ("_L", "_R") else name
        usual = np.random.default_rng(list(base.encode()))
        own = np.random.default_rng([*seed, *name.encode()])
        side = {"_L": 1, "_R": -1}.get(name[-2:], 0)
        x = side * usual.uniform(35, 75) if side else usual.uniform(-15, 15)
        center = np.array([x, usual.uniform(-25, 40), usual.uniform(-30, 50)]) + own.normal(0, 3, 3)
        radii = usual.uniform(12, 20, 3) * own.uniform(0.9, 1.1, 3)
        surface = np.maximum(at.ellipsoid(center.tolist(), radii.tolist()), distance + 6)
        canvas.paint(surface, float(usual.uniform(70, 150)), block)
        found[name] = (block, surface.astype(np.float32))
    return found


def _chest(at: Coordinates, body: Thorax) -> Floats:
    """Return the envelope of ribs and muscles, narrower towards the shoulders."""
    width = along(at.z, [(-100, 158), (-20, 165), (60, 155), (120, 125)]) * np.float32(body.bones)
    depth = along(at.z, [(-100, 104), (0, 102), (60, 92), (120, 74)]) * np.float32(body.bones)
    return at.ellipse(np.float32(0), np.float32(12), width, depth, power=2.4)


def _breast(at: Coordinates, body: Thorax, side: int) -> Floats:
    size = body.breast
    return at.ellipsoid((side * 82 * body.bones, -76, -4), (60 * size, 46 * size, 58 * size))


def _outline(at: Coordinates, body: Thorax, muscle: Floats, breasts: dict[int, Floats]) -> Floats:
    """Return the skin: fat over the muscles, the breasts, flat where the patient lies."""
    skin = muscle - np.float32(7 + 14 * body.fat)
    for breast in breasts.values():
        skin = join(skin, breast, 14.0)
    found: Floats = np.maximum(skin, at.y - np.float32(112 + 8 * body.fat))
    return found


def _draw_bones(canvas: Canvas, block: Block, body: Thorax, muscle: Floats) -> None:
    """Paint ribs, which fall towards the front, sternum and spine."""
    at = canvas.at(block)
    wave = np.cos((at.z + np.float32(0.35) * at.y) * np.float32(2 * np.pi / 27))
    ribs = np.maximum(np.abs(muscle + 11) - 4, 9 * (np.float32(0.35) - wave))
    behind = np.float32(-70) - at.y  # in front there is cartilage
    canvas.paint(np.maximum(ribs, behind), 420.0, block)
    front = along(at.z, [(-100, -80), (0, -78), (60, -68), (120, -50)]) * np.float32(body.bones)
    sternum = at.ellipse(np.float32(0), front, np.float32(19), np.float32(6), power=3.0)
    canvas.paint(np.maximum(sternum, muscle + 3), 330.0, block)
    spine_y = _spine_y(at)
    vertebra = at.ellipse(np.float32(0), spine_y, np.float32(18), np.float32(15))
    arch = at.ellipse(np.float32(0), spine_y + 24, np.float32(15), np.float32(14))
    process = at.blade((0 * at.z, spine_y + 30), (0 * at.z, spine_y + 42), np.float32(4))
    bone = np.maximum(join(join(vertebra, arch, 5), process, 5), muscle + 3)
    canvas.paint(bone, _BONE_HU, block)
    canvas.paint(bone + 2.2, _SPONGY_HU, block)
    canvas.paint(at.ellipse(np.float32(0), spine_y + 22, np.float32(10), np.float32(8.5)), _FLUID_HU, block)


def _spine_y(at: Coordinates) -> Floats:
    """Return how far behind the middle the vertebral bodies lie, a slight kyphosis."""
    return along(at.z, [(-120, 60), (0, 66), (120, 58)])


def _draw_organs(canvas: Canvas, block: Block, body: Thorax, cavity: Floats, texture: Floats) -> dict[str, Floats]:
    """Paint lungs, liver, heart, aorta, airways, esophagus and cord; no two overlap."""
    at, spine_y = canvas.at(block), _spine_y(canvas.at(block))
    heart = np.maximum(at.ellipsoid(body.heart_center_mm, body.heart_mm), cavity)
    trachea = at.capsule((0, 22, 140), (0, 26, 38), _TRACHEA_MM)
    bronchi = [at.capsule((0, 26, 38), (side * 38, 24, 16), 6.5) for side in (-1, 1)]
    esophagus = at.ellipse(np.float32(6), spine_y - 26, np.float32(_ESOPHAGUS_MM), np.float32(_ESOPHAGUS_MM * 0.8))
    esophagus = np.maximum(esophagus, 1 - np.minimum(trachea, heart))
    aorta = at.ellipse(np.float32(24), spine_y - 14, np.float32(12.5), np.float32(12.5))
    cord = at.ellipse(np.float32(0), spine_y + 22, np.float32(_CORD_MM), np.float32(_CORD_MM * 0.9))
    middle = np.minimum(
        np.minimum(np.minimum(aorta, esophagus), heart),
        np.minimum(trachea, at.ellipse(np.float32(0), spine_y, np.float32(18), np.float32(15))),
    )
    lungs = {side: np.maximum(_lung(at, body, cavity, side), 3 - middle) for side in (-1, 1)}
    below = np.maximum(cavity + 1, at.z - _dome(at, body, -1))
    canvas.paint(np.maximum(below, 4 - middle), 58 + 5 * texture, block)  # liver and what lies beside it
    for side, lung in lungs.items():
        canvas.paint(lung, _LUNG_HU + 25 * texture, block)
        canvas.paint(np.maximum(lung + 3, 8 * (np.float32(1.9) - texture)), -120.0, block)  # vessels
        canvas.paint(np.maximum(bronchi[(side + 1) // 2] - 1.5, -40 - at.z), 20.0, block)
    canvas.paint(heart, _BLOOD_HU + 4 * texture, block)
    canvas.paint(aorta, _BLOOD_HU, block)
    for tube in (trachea, *bronchi):
        canvas.paint(tube, _AIR_HU, block)
    canvas.paint(esophagus, 32.0, block)
    canvas.paint(cord, _CORD_HU, block)
    low = np.float32(38) - canvas.axes_of(block)[0][:, None, None]  # contours of the trachea end at the carina
    return {
        "Heart": heart, "Lung_L": lungs[1], "Lung_R": lungs[-1], "SpinalCord": cord, "Esophagus": esophagus,
        "Trachea": np.maximum(trachea, low),
    }  # fmt: skip


def _lung(at: Coordinates, body: Thorax, cavity: Floats, side: int) -> Floats:
    size = body.bones
    shape = at.ellipsoid((side * 76 * size, 14, 12), (74 * size, 98 * size, 120))
    inner = along(at.z, [(-80, 30), (0, 22), (70, 15)]) - side * at.x
    return np.maximum(np.maximum(shape, cavity), np.maximum(inner, _dome(at, body, side) - at.z))


def _dome(at: Coordinates, body: Thorax, side: int) -> Floats:
    """Return the height of the diaphragm, mm; higher on the right."""
    top = np.float32((-34 if side < 0 else -44) - body.breath_mm)
    return top - 45 * ((at.x - side * 70) / 80) ** 2 - 30 * ((at.y - 4) / 90) ** 2


def _targets(breast: Floats, outline: Floats, grid: PhantomGrid) -> tuple[Floats, Floats]:
    """Return CTV, the breast but for its edge, and PTV, that with a margin, both below the skin."""
    ctv = breast + np.float32(3)
    outside = signed_distance(ctv < 0, grid.spacing_mm)
    return ctv, np.maximum(outside - np.float32(_MARGIN_MM), outline + np.float32(_BELOW_SKIN_MM))
