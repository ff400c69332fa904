"""Images of volumes with answers for the patient as a whole, from real predictions of slices known by hand."""

import dataclasses

import numpy as np
import pytest
import torch
from monai.data import DataLoader, Dataset
from torch import nn

from ctan_monai.data.cases.cache import read_case_file, write_case
from ctan_monai.data.cases.case import Case
from ctan_monai.data.datasets.stoic.chest_case import ChestReader
from ctan_monai.data.datasets.stoic.synthetic import FIELD_MM, draw_chest, write_chest
from ctan_monai.engines import MultiTaskEvaluator, PrepareMultiTaskBatch, SlicePoolingInferer, WriteSlices
from ctan_monai.engines.predictions.prediction_writer import WritePredictions
from ctan_monai.engines.predictions.predictions_index import read_index
from ctan_monai.errors import DataError
from ctan_monai.report import draw_cases, report_predictions
from ctan_monai.report.findings_view import draw_findings, is_findings
from ctan_monai.tasks import Classification, Segmentation
from ctan_monai.transforms import LoadCaseFiled

TASKS = [Classification("covid", ["covid"]), Classification("severe", ["severe"])]
SLICES_HU = [-400, -100, 300, 250, -200, 0, 100, 150, -300, 400, -50, 20]  # each slice has one value
AFFINE_RAS = np.array([[0, -2.0, 0, 0], [-3.0, 0, 0, 0], [0, 0, 5.0, 0], [0, 0, 0, 1]])  # to the back, left, head


class Brightness(nn.Module):
    """Finds COVID-19 where a slice is bright and severity where it is dark, a logit for each 100 HU."""

    spatial_dims, tasks = 2, tuple(TASKS)

    def forward(self, image):
        logits = image.mean((1, 2, 3), keepdim=True)[..., 0, 0] / 100  # (B, 1)
        return {"covid": logits, "severe": -logits}


@pytest.fixture
def plain():
    hu = np.broadcast_to(np.array(SLICES_HU, np.int16), (16, 30, len(SLICES_HU))).copy()
    return Case("plain", {"ct": hu}, {}, AFFINE_RAS, {"covid": 1}, {})


@pytest.fixture(scope="module")
def chest(tmp_path_factory):
    """A synthetic CT as a case, box and small images included."""
    path = tmp_path_factory.mktemp("chest") / "chest.mha"
    write_chest(draw_chest("severe", 3, (64, 64, 16)), path)
    return dataclasses.replace(ChestReader([32, 48])(path), values={"covid": 1, "severe": 0})


@pytest.fixture
def predict(tmp_path):
    """Predict cases, and return the folder."""

    def call(*cases, slices=True):
        items = []
        for case in cases:
            write_case(tmp_path / f"{case.case}.case", case)
            items.append({"case": case.case, "file": str(tmp_path / f"{case.case}.case")})
        out, inferer = tmp_path / "out", SlicePoolingInferer()
        handlers = [WritePredictions(TASKS, out), *([WriteSlices(inferer, TASKS, out)] if slices else [])]
        MultiTaskEvaluator(
            device=torch.device("cpu"),
            network=Brightness(),
            val_data_loader=DataLoader(Dataset(items, LoadCaseFiled(TASKS)), batch_size=1),
            prepare_batch=PrepareMultiTaskBatch(TASKS, require_labels=False),
            inferer=inferer,
            val_handlers=handlers,
        ).run()
        return out

    return call


def draw(folder, **options):
    index = read_index(folder)
    return draw_findings(index.cases[0], index.tasks, folder, **options)


def titles(figure):
    return [axes.get_title(loc="left") for axes in figure.axes]


def test_the_caption_has_both_answers_and_what_is_known(predict, plain):
    caption, _ = draw(predict(plain))
    prob = 1 / (1 + np.exp(-np.mean(SLICES_HU) / 100))
    assert caption == f"covid {prob:.0%} (reference: yes); severe {1 - prob:.0%} (reference: not known)"


def test_each_task_shows_its_four_highest_slices_that_are_not_neighbors(predict, plain):
    _, figure = draw(predict(plain))
    assert titles(figure)[1:] == [  # by hand; 3 lies beside 2, and 6 beside 7
        *("covid: slice 9, 98%", "covid: slice 2, 95%", "covid: slice 7, 82%", "covid: slice 11, 55%"),
        *("severe: slice 0, 98%", "severe: slice 8, 95%", "severe: slice 4, 88%", "severe: slice 10, 62%"),
    ]
    shown = [axes.images[0].get_array() for axes in figure.axes[1:]]
    assert [int(np.unique(part).item()) for part in shown] == [400, 300, 150, 20, -400, -300, -200, -50]


def test_slices_keep_their_proportions(predict, plain):
    _, figure = draw(predict(plain))
    figure.draw_without_rendering()
    frame = figure.axes[1].get_window_extent()
    assert frame.width / frame.height == pytest.approx(30 * 2 / (16 * 3), rel=0.01)


def test_the_curves_show_each_slices_probability_and_the_patients(predict, plain):
    _, figure = draw(predict(plain))
    lines = {line.get_label(): line.get_ydata() for line in figure.axes[0].get_lines()}
    probs = 1 / (1 + np.exp(-np.array(SLICES_HU) / 100))
    np.testing.assert_allclose(lines["covid, slices"], probs, atol=1e-5)
    np.testing.assert_allclose(lines["severe, slices"], 1 - probs, atol=1e-5)
    pooled = 1 / (1 + np.exp(-np.mean(SLICES_HU) / 100))
    np.testing.assert_allclose(lines["covid, patient"], pooled, atol=1e-5)


def test_without_answers_for_slices_some_are_shown_from_foot_to_head(predict, plain):
    _, figure = draw(predict(plain, slices=False))
    assert [title for title in titles(figure) if title] == ["slice 2", "slice 4", "slice 7", "slice 9"]


def test_the_box_is_where_the_case_was_cut_out_of_the_ct(predict, chest):
    _, figure = draw(predict(chest))
    axial, coronal = figure.axes[:2]
    ends = chest.affine_ras @ np.array([[-0.5] * 3 + [1], [*(np.array(chest.shape) - 0.5), 1]]).T
    start, stop = ends[:3].T * [-1, -1, 1]  # to the left, back and head
    voxel = np.array(FIELD_MM)[[1, 0, 2]] / [64, 64, 16]
    corner = -np.array(FIELD_MM)[[1, 0, 2]] / 2 - voxel / 2  # of the CT, as the file has it
    for panel, rows in ((axial, (start[1] - corner[1], stop[1] - corner[1])), (coronal, None)):
        x, y = panel.get_lines()[0].get_data()
        np.testing.assert_allclose((min(x), max(x)), (start[0] - corner[0], stop[0] - corner[0]), atol=0.02)
        top_mm = corner[2] + FIELD_MM[2]
        np.testing.assert_allclose((min(y), max(y)), rows or (top_mm - stop[2], top_mm - start[2]), atol=0.02)
        assert panel.get_aspect() == 1
    assert len(figure.axes) == 2 + 1 + 2 * 4


def test_the_lungs_lie_within_the_box_that_is_drawn(predict, chest):
    _, figure = draw(predict(chest))
    lungs = draw_chest("severe", 3, (64, 64, 16)).lungs
    for panel, seen in zip(figure.axes[:2], (lungs.any(2), lungs.any(0).T[::-1]), strict=True):
        x, y = panel.get_lines()[0].get_data()
        height, width = (
            side / size for side, size in zip((panel.get_ylim()[0], panel.get_xlim()[1]), seen.shape, strict=True)
        )
        rows, columns = np.nonzero(seen)
        held = (rows * height >= min(y) - 1) & ((rows + 1) * height <= max(y) + 1)
        held &= (columns * width >= min(x) - 1) & ((columns + 1) * width <= max(x) + 1)
        assert held.mean() > 0.97  # windpipe and recesses are left out


def test_the_patients_right_is_on_the_left_of_every_image(predict, chest):
    _, figure = draw(predict(chest))
    assert chest.affine_ras[0, 1] < 0  # columns run to the patient's left
    images = [axes for axes in figure.axes if axes.images]
    assert len(images) == 2 + 2 * 4
    for axes in images:
        letters = {text.get_text(): text.get_position()[0] for text in axes.texts}
        assert letters == {"R": pytest.approx(0.05, abs=0.02), "L": pytest.approx(0.95, abs=0.02)}
        assert not axes.xaxis_inverted()


def test_a_synthetic_ct_is_called_so(predict, chest):
    assert draw(predict(chest))[0].startswith("SYNTHETIC, no patient; covid ")


def test_several_classes_are_named(predict, plain):
    folder, tasks = predict(plain), [Classification("grade", ["low", "high"]), TASKS[0]]
    case = dataclasses.replace(plain, values={"grade": 0})
    write_case(folder.parent / "plain.case", case)
    predicted = dataclasses.replace(
        read_index(folder).cases[0], answers={"grade": {"low": 0.2, "high": 0.8}, "covid": {"covid": 0.1}}
    )
    (folder / "plain" / "slices.csv").unlink()
    caption, _ = draw_findings(predicted, tasks, folder)
    assert caption == "grade: high 80% (reference: low); covid 10% (reference: not known)"


def test_findings_are_those_without_anything_drawn_on_voxels(predict, plain):
    predicted = read_index(predict(plain)).cases[0]
    assert is_findings(predicted, TASKS)
    assert not is_findings(predicted, [*TASKS, Segmentation("lung", ["lung"])])
    assert not is_findings(dataclasses.replace(predicted, source=None), TASKS)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda lines: lines[:-1], "it has 11 slices, the case 12"),
        (lambda lines: [lines[0].replace("covid: covid", "other"), *lines[1:]], "covid: covid"),
        (lambda lines: [lines[0], "0,none,1,1,1", *lines[2:]], "none"),
    ],
)
def test_a_damaged_table_of_slices_is_named_and_its_case_left_out(predict, plain, caplog, damage, message):
    folder = predict(plain, dataclasses.replace(plain, case="whole"))
    table = folder / "plain" / "slices.csv"
    table.write_text("\n".join(damage(table.read_text().splitlines())))
    with pytest.raises(DataError, match=message) as caught:
        draw(folder)
    assert "slices.csv" in str(caught.value)
    assert [drawn.case for drawn in draw_cases(folder)] == ["whole"]
    assert "No image of plain" in caplog.text


def test_what_cannot_be_shown_is_named(predict, plain):
    folder = predict(plain)
    with pytest.raises(DataError, match=r"volumes \['ct'\].*not 'mr'"):
        draw(folder, image="mr")
    predicted = dataclasses.replace(read_index(folder).cases[0], source=None)
    with pytest.raises(DataError, match="source of the case is not known"):
        draw_findings(predicted, TASKS, folder)


def test_the_page_shows_the_images(predict, plain, chest):
    folder = predict(plain, chest)
    page = report_predictions(folder).read_text()
    assert "severe 46% (reference: not known)" in page
    assert (folder / "chest" / "overlay.png").read_bytes().startswith(b"\x89PNG")
    assert read_case_file(folder.parent / "chest.case").meta["synthetic"]
