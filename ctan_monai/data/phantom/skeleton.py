"""Femurs, hip bones and sacrum: cortical shells around cancellous bone and marrow."""

from __future__ import annotations

import numpy as np

from ctan_monai.data.phantom.anatomy import Anatomy
from ctan_monai.data.phantom.grid import Block, Canvas
from ctan_monai.data.phantom.shapes import Coordinates, Floats, along, join, smooth_field

_CORTEX_HU, _SPONGY_HU, _MARROW_HU = 1050.0, 260.0, 30.0
_SHAFT_END_MM = -52.0  # contours of a femur end about 1 cm below the lesser trochanter


def draw_skeleton(canvas: Canvas, anatomy: Anatomy, random: np.random.Generator) -> dict[str, tuple[Block, Floats]]:
    """Paint the bones.

    Returns:
        For Femur_L and Femur_R the part of the grid and, there, the distance to the contoured femur in mm.
    """
    spongy = smooth_field(random, canvas.axes_mm, (3.5, 3.5, 3.5))
    for side in (-1, 1):
        _draw_hip_bone(canvas, anatomy, side, spongy)
    _draw_sacrum(canvas, spongy)
    return {name: _draw_femur(canvas, anatomy, side, spongy) for name, side in (("Femur_L", 1), ("Femur_R", -1))}


def _draw_bone(canvas: Canvas, block: Block, surface: Floats, spongy: Floats, cortex_mm: Floats | float) -> None:
    canvas.paint(surface, _CORTEX_HU + 60 * spongy[block], block)
    canvas.paint(surface + cortex_mm, _SPONGY_HU + 55 * spongy[block], block)


def _draw_femur(canvas: Canvas, anatomy: Anatomy, side: int, spongy: Floats) -> tuple[Block, Floats]:
    head = np.array(anatomy.head_mm) * (side, 1, 1)
    size = anatomy.bones
    low, high = sorted((side * 60 * size, side * 170 * size))
    block = canvas.block((low, -60, -200), (high, 60, 65))
    at = canvas.at(block)
    ball = at.sphere(head.tolist(), 23.5 * size)
    neck_end = (side * 132 * size, 5, 4)
    neck = at.capsule(head.tolist(), neck_end, 15.0 * size, 17.0 * size)
    trochanter = at.ellipsoid((side * 141 * size, 12, 8), (14 * size, 18, 22))
    shaft_top, shaft_end = (side * 131 * size, 6, -12), (side * 108 * size, 2, -160)
    shaft = at.capsule(shaft_top, shaft_end, 17.0 * size, 13.5 * size)
    lesser = at.ellipsoid((side * 114 * size, 14, -40), (9, 9, 12))
    surface = join(join(ball, neck, 8), trochanter, 12)
    surface = join(join(surface, shaft, 14), lesser, 6)
    cortex = along(at.z, [(-70, 5.5), (-40, 4.5), (-5, 2.2), (40, 1.6)])
    _draw_bone(canvas, block, surface, spongy, cortex)
    canvas.paint(np.maximum(surface + 8.5, at.z + 22), _MARROW_HU, block, t2=0.7)
    return block, np.maximum(surface, _SHAFT_END_MM - canvas.axes_of(block)[0][:, None, None])


def _draw_hip_bone(canvas: Canvas, anatomy: Anatomy, side: int, spongy: Floats) -> None:
    size = anatomy.bones
    block = canvas.block(
        *((-140 * size, -80, -200), (4, 95, 400)) if side < 0 else ((-4, -80, -200), (140 * size, 95, 400))
    )
    at = Coordinates(canvas.at(block).x * side / np.float32(size), *canvas.at(block)[1:])
    head = (90.0, *anatomy.head_mm[1:])
    socket = np.abs(at.sphere(head, 31.0)) - 6.0
    open_side = -(0.80 * (at.x - head[0]) - 0.05 * (at.y - head[1]) - 0.60 * (at.z - head[2])) + 2
    acetabulum = np.maximum(socket, -open_side)
    wing = _wing(at)
    ischium = join(
        at.capsule((80, 26, 22), (66, 34, -24), 12.0), at.capsule((66, 34, -24), (56, 28, -52), 12.0, 15.0), 8
    )
    ramus = at.capsule((70, -28, 30), (17, -44, 10), 9.5, 8.5)
    pubis = join(
        join(at.capsule((11.5, -45, 10), (12.5, -42, -14), 9.0), at.capsule((13, -45, 2), (26, -42, 0), 8.5), 4),
        at.capsule((14, -40, -16), (52, 16, -48), 6.5, 8.0),
        6,
    )
    surface = join(join(acetabulum, wing, 10), join(ischium, ramus, 6), 8)
    surface = join(surface, pubis, 8)
    surface = np.maximum(surface, 25.3 - at.sphere(head, 0))  # the joint's gap
    surface = np.maximum(surface, 2.0 - at.x)  # the symphysis
    _draw_bone(canvas, block, surface, spongy, along(at.z, [(-50, 2.2), (20, 2.0), (60, 2.6)]))
    canvas.paint(
        np.maximum(at.sphere(head, 26.2), 0 * at.x - 5), 60.0, block, t2=0.45
    )  # cartilage; the head is drawn over it


def _wing(at: Coordinates) -> Floats:
    """Return the ilium: a blade from front outside to back inside that widens upwards."""
    up = np.clip((at.z - 45) / 65, -0.2, 1.2)
    start = (90 + 34 * up, -26 - 12 * up)
    end = (74 - 24 * up, 36 + 26 * up)
    along_blade = np.clip((at.y - start[1]) / (end[1] - start[1]), 0, 1)
    bow = (4 + 8 * up) * (4 * along_blade * (1 - along_blade))  # hollow towards the belly
    thick = along(at.z, [(30, 12), (60, 8.5), (110, 5.0)]) + 4 * along_blade**3
    bent = Coordinates(at.x - bow, at.y, at.z)
    found: Floats = np.maximum(bent.blade(start, end, thick), 38 - at.z)
    return found


def _draw_sacrum(canvas: Canvas, spongy: Floats) -> None:
    block = canvas.block((-65, 30, -5), (65, 110, 400))
    at = canvas.at(block)
    y = along(at.z, [(0, 64), (12, 72), (32, 82), (60, 80), (100, 57), (130, 36)])
    half_width = along(at.z, [(2, 5), (15, 9), (32, 22), (60, 40), (100, 52), (130, 52)])
    half_depth = along(at.z, [(2, 4), (15, 6), (32, 9), (60, 14), (100, 24), (130, 30)])
    bow = 0.0022 * at.x**2 * np.clip(at.z / 60, 0, 1)  # hollow towards the pelvis
    surface = at.ellipse(np.float32(0), y - bow + 4, half_width, half_depth, power=2.4)
    surface = np.maximum(surface, 3 - at.z)
    _draw_bone(canvas, block, surface, spongy, 1.8)
    for height in (38, 62, 88):
        for side in (-1, 1):
            x = side * (14 + 0.09 * height)
            hole = at.capsule((x, 60, height), (x, 110, height - 6), 3.6)
            canvas.paint(np.maximum(hole, surface), -60.0, block)
    canal = at.ellipse(np.float32(0), y + 0.45 * half_depth + 4, 0.22 * half_width + 2, 0.18 * half_depth + 2)
    canvas.paint(np.maximum(canal, 34 - at.z), 15.0, block, t2=0.95)
