"""Body outline and soft tissue: skin, fat, muscles, the pelvic cavity with bowel, the couch."""

from __future__ import annotations

import numpy as np

from ctan_monai.data.phantom.anatomy import Anatomy
from ctan_monai.data.phantom.grid import Block, Canvas
from ctan_monai.data.phantom.shapes import Coordinates, Floats, along, join, smooth_field

_SKIN_MM = 2.0
_FAT_HU, _MUSCLE_HU, _SKIN_HU = -98.0, 52.0, 5.0
_THIGH_FROM_MM, _THIGH_TO_MM = -80.0, -40.0  # heights between which the torso parts into two thighs


def draw_body(canvas: Canvas, anatomy: Anatomy, random: np.random.Generator) -> tuple[Block, Floats]:
    """Paint the couch, skin, fat, muscles, the pelvic cavity, bowel and vessels.

    Returns:
        The part of the grid that the body lies in and, there, the distance to the skin in mm, negative inside.
    """
    block = canvas.block((-215, -140, -400), (215, 150, 400))
    at = canvas.at(block)
    axes_mm = canvas.axes_of(block)
    texture = smooth_field(random, axes_mm, (7.0, 7.0, 7.0))
    muscle = _muscle(at, anatomy)
    outline = _outline(at, anatomy, muscle)
    cavity = _cavity(at, anatomy, muscle)
    draw_couch(canvas, block, outline)
    canvas.paint(outline, _SKIN_HU, block)
    canvas.paint(outline + _SKIN_MM, _FAT_HU + 5 * texture, block)
    canvas.paint(muscle, _MUSCLE_HU + 6 * texture, block)
    _draw_fat_planes(canvas, block, anatomy, muscle, smooth_field(random, axes_mm, (60.0, 17.0, 17.0)))
    canvas.paint(cavity, _FAT_HU + 4 * texture + 18 * np.clip(texture - 1.0, 0, 2), block)
    _draw_iliopsoas(canvas, anatomy)
    _draw_vessels(canvas, anatomy)
    _draw_bowel(canvas, anatomy, (block, cavity), random)
    return block, outline


def _muscle(at: Coordinates, anatomy: Anatomy) -> Floats:
    """Return the envelope of muscle and bone: a torso that parts into two thighs."""
    size, z = anatomy.bones, at.z
    width = along(z, [(-90, 120), (-50, 146), (-10, 162), (20, 163), (60, 152), (120, 136)]) * size
    depth = along(z, [(-90, 60), (-50, 76), (0, 82), (60, 87), (120, 92)])
    middle = along(z, [(-90, 8), (0, 15), (40, 9), (120, 2)])
    torso = at.ellipse(np.float32(0), middle, width, depth, power=2.6)
    return _with_thighs(at, torso, 82 * size, 76.0, 74.0)


def _outline(at: Coordinates, anatomy: Anatomy, muscle: Floats) -> Floats:
    """Return the skin: fat over the muscles, thickest at the belly and the buttocks, flat where the patient lies."""
    fat, z = anatomy.fat, at.z
    width = along(z, [(-90, 130), (-50, 156), (-10, 171), (20, 172), (60, 164), (120, 152)]) * anatomy.bones
    front = along(z, [(-90, 62), (-30, 76), (0, 84), (50, 96), (120, 104)]) + along(z, [(-60, 4), (110, 42)]) * fat
    back = along(z, [(-90, 76), (-20, 98), (30, 104), (120, 98)]) + 14 * fat
    depth = np.where(at.y < 10, front + 10, back - 10)
    torso = at.ellipse(np.float32(0), np.float32(10), width + np.float32(16 * fat), depth, power=2.5)
    torso = np.maximum(torso, at.y - along(z, [(-90, 92), (-20, 108), (30, 110), (120, 104)]) - 9 * fat)
    skin = _with_thighs(at, torso, 84 * anatomy.bones, 82.0 + 12 * fat, 80.0 + 10 * fat)
    cleft = at.capsule((0, 124 + 14 * fat, -120), (0, 116 + 14 * fat, 40), 15.0, 4.0) - 3
    skin = np.maximum(skin, np.where(np.abs(at.x) < 25, -cleft - 1.2 * np.abs(at.x), np.float32(-50)))
    found: Floats = np.minimum(skin, muscle - 5)
    return found


def _with_thighs(at: Coordinates, torso: Floats, x_mm: float, rx_mm: float, ry_mm: float) -> Floats:
    """Part the torso into thighs below the perineum."""
    low = int(np.searchsorted(at.z.max(axis=(1, 2)), 45.0))  # nothing of a thigh above
    part = Coordinates(*(axis[:low] for axis in at))
    fade = along(part.z, [(_THIGH_FROM_MM, 46), (_THIGH_TO_MM, 0)])  # how far the torso has withdrawn
    share = along(part.z, [(-90, 1.0), (-10, 0.86), (30, 0.5)])
    mirrored = Coordinates(np.abs(part.x), part.y, part.z)
    thigh = mirrored.ellipse(np.float32(x_mm), np.float32(8), share * rx_mm, share * ry_mm, power=2.2)
    found = torso.copy()
    found[:low] = join(torso[:low] + fade, thigh, 14.0)
    return found


def _cavity(at: Coordinates, anatomy: Anatomy, muscle: Floats) -> Floats:
    """Return the fat-filled space inside the pelvis: ischioanal fossa, lesser pelvis, abdomen."""
    rx = along(at.z, [(-70, 20), (-45, 36), (-20, 44), (0, 49), (25, 57), (45, 66), (70, 88), (120, 112)])
    front = along(at.z, [(-70, 0), (-45, 4), (-15, 22), (0, 30), (25, 46), (60, 72), (120, 84)])
    back = along(at.z, [(-70, 60), (-20, 72), (10, 76), (40, 82), (70, 72), (120, 40)])
    middle, depth = (back - front) / 2, (back + front) / 2
    inside = at.ellipse(np.float32(0), middle, rx * np.float32(anatomy.bones), depth, power=2.3)
    found: Floats = np.maximum(inside, muscle + along(at.z, [(-60, 14), (0, 14), (60, 11)]))
    return found


def _draw_fat_planes(canvas: Canvas, block: Block, anatomy: Anatomy, muscle: Floats, septa: Floats) -> None:
    """Paint the fat between muscles: a plane below gluteus maximus, and septa that run along the limb."""
    at = canvas.at(block)
    mirrored = Coordinates(np.abs(at.x), at.y, at.z)
    gluteal = np.abs(mirrored.ellipsoid((95 * anatomy.bones, 8, 40), (76 * anatomy.bones, 64, 120)))
    gluteal = np.where(at.y > 8, gluteal - 1.2 - 0.8 * septa, np.float32(20))
    strands = 22 * (np.abs(septa) - 0.055)
    canvas.paint(np.maximum(np.minimum(gluteal, strands), muscle + 5), _FAT_HU + 25, block)


def _draw_iliopsoas(canvas: Canvas, anatomy: Anatomy) -> None:
    """Paint psoas beside the spine, going forward to the hip, and iliacus on the inside of the ilium."""
    size = anatomy.bones
    for side in (-1, 1):
        block = canvas.block(*_sorted((side * 20, -80, -10), (side * 140, 60, 400)))
        at = canvas.at(block)
        psoas = at.capsule((side * 50 * size, 6, 130), (side * 66 * size, -38, 45), 19.0, 17.0)
        psoas = join(psoas, at.capsule((side * 66 * size, -38, 45), (side * 92 * size, -42, 0), 17.0, 13.0), 6)
        up = np.clip((at.z - 45) / 65, 0, 1.2)
        start = (side * size * (80 + 34 * up), -26 - 6 * up)
        end = (side * size * (72 - 8 * up), 22 + 12 * up)
        iliacus = np.maximum(at.blade(start, end, np.float32(10)), 40 - at.z)
        canvas.paint(join(psoas, iliacus, 4) - 1.2, _FAT_HU + 35, block)
        canvas.paint(join(psoas, iliacus, 4), _MUSCLE_HU, block)


def _draw_bowel(canvas: Canvas, anatomy: Anatomy, cavity: tuple[Block, Floats], random: np.random.Generator) -> None:
    """Paint loops of bowel above the bladder: wall, contents, here and there gas."""
    floor_mm = anatomy.bladder_center_mm[2] + 0.4 * anatomy.bladder_mm[2]
    within, distance = cavity
    first = int(np.searchsorted(canvas.axes_mm[0], floor_mm))
    block = (slice(first, None), *within[1:])
    if first >= canvas.grid.slices:
        return
    at = canvas.at(block)
    loops = smooth_field(random, canvas.axes_of(block), (12.0, 12.0, 12.0))
    behind = at.y - along(at.z, [(30, 20), (60, 34), (110, 10)]) + 7 * loops  # the rectum and the sacrum keep free
    sides = np.abs(at.x) - along(at.z, [(40, 45), (110, 70)])
    room = np.maximum(np.maximum(distance[first:] + 8, floor_mm + 8 - at.z), np.maximum(behind, sides))
    surface = np.maximum(14 * (-0.1 - loops), room)
    canvas.paint(surface, 40.0, block)
    canvas.paint(surface + 3, 22 + 14 * np.sin(4 * loops), block)
    canvas.paint(np.maximum(14 * (1.6 - loops), surface + 4), -860.0, block)


def _draw_vessels(canvas: Canvas, anatomy: Anatomy) -> None:
    """Paint the femoral and external iliac artery and vein in fat, on both sides."""
    size = anatomy.bones
    for side in (-1, 1):
        for shift, radius in ((0.0, 4.5), (-13.0, 6.0)):
            low = (side * (78 * size + shift), -58, -95)
            hip = (side * (66 * size + shift), -62, 25)
            high = (side * (38 * size + shift * 0.3), -20 + shift, 125)
            for start, end in ((low, hip), (hip, high)):
                block = canvas.block(*_sorted(start, end))
                tube = canvas.at(block).capsule(start, end, radius)
                canvas.paint(tube - 2, _FAT_HU + 25, block)
                canvas.paint(tube, 45.0, block)


def draw_couch(canvas: Canvas, block: Block, outline: Floats) -> None:
    """Paint a flat board under the patient: a thin shell with foam inside, not bent with the anatomy."""
    lowest = block[1].start + int(np.flatnonzero(outline.min(axis=(0, 2)) < 0).max())
    top_mm = float(canvas.axes_mm[1][lowest]) + 1.5 * canvas.grid.row_mm
    _, y, x = canvas.axes_mm
    flat = np.maximum(np.abs(y[:, None] - np.float32(top_mm + 18)) - 18, np.abs(x) - 215)  # (R, C)
    board = np.broadcast_to(flat, canvas.grid.shape)
    canvas.paint(board, -300.0)
    canvas.paint(board + 3, -930.0)


def _sorted(first: tuple[float, ...], second: tuple[float, ...]) -> tuple[list[float], list[float]]:
    """Return the lowest and the highest corner, with room for a stick of 14 mm around the line between them."""
    corners = np.array([first, second])
    return (corners.min(0) - 14).tolist(), (corners.max(0) + 14).tolist()
