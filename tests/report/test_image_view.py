"""Images of 2D cases, looked at pixel by pixel where that says something."""

import dataclasses
import io

import numpy as np
import pytest
import torch
from ignite.engine import Engine
from monai.data import DataLoader, Dataset
from PIL import Image

from ctan_monai.data.cases.cache import read_case_file, write_case
from ctan_monai.data.cases.case import Case
from ctan_monai.data.formats.images import image_affine_ras
from ctan_monai.engines.predictions.prediction_writer import WritePredictions
from ctan_monai.engines.predictions.predictions_index import PredictedCase, read_index, write_index
from ctan_monai.errors import DataError
from ctan_monai.report import draw_cases, report_predictions
from ctan_monai.report.image_view import draw_2d_image, is_2d_image
from ctan_monai.tasks import Classification, Segmentation
from ctan_monai.transforms import LoadCaseFiled

LESION = Segmentation("lesion", ["lesion"], overlapping=True)
DIAGNOSIS = Classification("diagnosis", ["nv", "mel"])
CHANNELS = ["red", "green", "blue"]
SHAPE, FULL = (30, 40), (60, 80)


def box(shape, share):
    mask = np.zeros(shape, bool)
    rows, columns = (round(side * share) for side in shape)
    mask[rows : shape[0] - rows, columns : shape[1] - columns] = True
    return mask


@pytest.fixture
def folder(tmp_path):
    """Predictions of an image with a reference and of one without, on blue skin."""
    volumes = {name: np.full(SHAPE, 255 if name == "blue" else 0, np.uint8) for name in CHANNELS}
    affine, meta = image_affine_ras(FULL, SHAPE), {"full_shape": list(FULL)}
    items = []
    for name, masks, values in (("known", {"lesion": box(SHAPE, 0.2)}, {"diagnosis": 1}), ("bare", {}, {})):
        write_case(tmp_path / f"{name}.case", Case(name, volumes, masks, affine, values, meta))
        items.append({"case": name, "file": str(tmp_path / f"{name}.case")})
    mask = torch.from_numpy(box(SHAPE, 0.3).astype(np.float32) * 8 - 4)[None, None]
    answers = {"lesion": mask, "diagnosis": torch.tensor([[0.0, 2.0]])}
    engine = Engine(lambda _, batch: {"image": batch["image"], "pred": answers})
    WritePredictions([LESION, DIAGNOSIS], tmp_path / "out", formats=["png"]).attach(engine)
    engine.run(DataLoader(Dataset(items, LoadCaseFiled([LESION, DIAGNOSIS], CHANNELS)), batch_size=1))
    return tmp_path / "out"


def pixels(figure):
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return np.array(Image.open(buffer).convert("RGB")).astype(int)


def test_the_caption_says_what_was_found_and_how_far_it_agrees(folder):
    index = read_index(folder)
    bare, known = (draw_2d_image(case, index.tasks, CHANNELS)[0] for case in index.cases)
    inner, outer = box(SHAPE, 0.3).sum(), box(SHAPE, 0.2).sum()
    assert known == f"lesion: mean Dice {2 * inner / (inner + outer):.3g}; diagnosis: mel 88% (reference: mel)"
    assert bare == f"lesion: {box(FULL, 0.3).mean():.0%} of the image; diagnosis: mel 88%"


def test_an_image_has_the_shape_of_its_file_and_says_where_nothing_was_found(folder):
    case = Case("tall", {name: np.zeros(SHAPE, np.uint8) for name in CHANNELS}, {}, image_affine_ras((160, 80), SHAPE))
    write_case(folder / "tall.case", case)
    Image.new("L", (80, 160)).save(folder / "tall.png")
    predicted = PredictedCase("tall", folder / "tall.case", {"lesion": {"lesion": folder / "tall.png"}}, {})
    caption, figure = draw_2d_image(predicted, [LESION], CHANNELS)
    assert caption == "lesion: none found"
    black = pixels(figure).max(-1) < 10
    rows, columns = (np.count_nonzero(black.mean(axis=axis) > 0.3) for axis in (1, 0))
    assert rows / columns == pytest.approx(2, rel=0.03)


def test_the_first_line_is_the_case_or_what_was_asked_for(folder):
    index = read_index(folder)
    case = index.cases[0]
    lines = [draw_2d_image(case, index.tasks, CHANNELS, title)[1].get_suptitle() for title in (None, "best case, ctan")]
    assert [text.split("\n")[0] for text in lines] == [case.case, "best case, ctan"]


def test_a_drawn_image_is_called_synthetic(folder):
    index = read_index(folder)
    bare = read_case_file(index.cases[0].source)
    write_case(index.cases[0].source, dataclasses.replace(bare, meta={**bare.meta, "synthetic": True}))
    assert draw_2d_image(index.cases[0], index.tasks, CHANNELS)[0].startswith("SYNTHETIC, no patient; lesion: ")


def test_the_image_shows_the_colors_and_both_outlines_where_they_are(folder):
    index = read_index(folder)
    known = next(case for case in index.cases if case.case == "known")
    _, figure = draw_2d_image(known, index.tasks, CHANNELS)
    shown = pixels(figure)
    blue = (shown[..., 2] > 200) & (shown[..., :2].max(-1) < 40)
    rows, columns = (np.flatnonzero(blue.any(axis=axis)) for axis in (1, 0))
    top, left, height, width = rows[0], columns[0], np.ptp(rows) + 1, np.ptp(columns) + 1
    assert width / height == pytest.approx(4 / 3, rel=0.02)
    band = blue[top + height // 2 - 20 : top + height // 2 + 20, left : left + width]  # longer than a gap of the dashes
    lines = np.flatnonzero(~band.all(axis=0)) / width  # the four upright sides of both outlines
    for place in (0.2, 0.3, 0.7, 0.8):
        assert np.abs(lines - place).min() < 0.02
    assert not ((lines > 0.4) & (lines < 0.6)).any()


def test_images_and_page_are_made_for_all_that_can_be_read(folder):
    drawn = draw_cases(folder, image=CHANNELS)
    assert [case.case for case in drawn] == ["bare", "known"]
    assert all(file.read_bytes().startswith(b"\x89PNG") for case in drawn for file in case.files)
    (folder / "bare" / "lesion.png").write_bytes(b"damaged")
    assert [case.case for case in draw_cases(folder, image=CHANNELS)] == ["known"]
    page = report_predictions(folder, image=CHANNELS).read_text()
    assert "reference: mel" in page


def test_masks_as_nifti_are_drawn_too(tmp_path):
    case = Case("a", {"gray": np.full(SHAPE, 90, np.uint8)}, {"lesion": box(SHAPE, 0.3)}, np.eye(4))
    write_case(tmp_path / "a.case", case)
    mask = torch.from_numpy(box(SHAPE, 0.3).astype(np.float32) * 8 - 4)[None, None]
    engine = Engine(lambda _, batch: {"image": batch["image"], "pred": {"lesion": mask}})
    WritePredictions([LESION], tmp_path / "out").attach(engine)
    items = [{"case": "a", "file": str(tmp_path / "a.case")}]
    engine.run(DataLoader(Dataset(items, LoadCaseFiled([LESION], ["gray"])), batch_size=1))
    (drawn,) = draw_cases(tmp_path / "out", image="gray")
    assert drawn.caption == "lesion: mean Dice 1"


def test_what_cannot_be_shown_is_named(folder):
    index = read_index(folder)
    assert all(is_2d_image(case) for case in index.cases)
    with pytest.raises(DataError, match=r"\['ct'\] cannot be shown.*red"):
        draw_2d_image(index.cases[0], index.tasks, ["ct"])
    with pytest.raises(DataError, match="source of the case is not known"):
        draw_2d_image(dataclasses.replace(index.cases[0], source=None), index.tasks, CHANNELS)


def test_fewer_images_than_cases_come_from_all_over_the_list(folder):
    index = read_index(folder)
    cases = [dataclasses.replace(index.cases[0], case=f"case{number}") for number in range(5)]
    write_index(folder, index.tasks, cases)
    assert [drawn.case for drawn in draw_cases(folder, 2, image=CHANNELS)] == ["case0", "case2"]
    assert draw_cases(folder, 0, image=CHANNELS) == []


@pytest.mark.parametrize(
    ("values", "told"), [({"grade": [0]}, "reference: not malignant"), ({}, "reference not known")]
)
def test_a_finding_that_is_known_to_be_absent_is_not_called_unknown(tmp_path, values, told):
    grade = Classification("grade", ["malignant"])
    volumes = {name: np.zeros(SHAPE, np.uint8) for name in CHANNELS}
    write_case(tmp_path / "a.case", Case("a", volumes, {}, image_affine_ras(FULL, SHAPE), values))
    caption, figure = draw_2d_image(
        PredictedCase("a", tmp_path / "a.case", {}, {"grade": {"malignant": 0.12}}), [grade], CHANNELS
    )
    assert any(told in axes.get_title(loc="left") for axes in figure.axes)
    assert ("(reference: not malignant)" in caption) == bool(values)
    (bar,) = figure.axes[-1].patches
    height = abs(np.subtract(*figure.axes[-1].get_ylim()))
    assert bar.get_height() < 0.2 * height  # one class is no block of color
