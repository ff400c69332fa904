from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from matplotlib.colors import to_hex

from ctan_monai.report.canvas import COLORS, save_figure
from ctan_monai.report.layout import Layout, frame
from ctan_monai.report.overlay import overlay_figure
from ctan_monai.report.planes import planes_through, reorient_lpi


def _panels(figure):
    """Panels by (row title, plane), in drawing order; color bars have no title and no image letters."""
    panels = [axes for axes in figure.axes if axes.texts]
    titles = [axes.get_ylabel() for axes in panels[::3]]
    return {(title, column): panels[3 * row + column] for row, title in enumerate(titles) for column in range(3)}


def test_reference_prediction_and_difference_have_a_row_each(view):
    panels = _panels(overlay_figure(view))
    assert list(dict.fromkeys(title for title, _ in panels)) == ["Reference", "Prediction", "Prediction - reference"]
    assert [panels["Reference", column].get_title() for column in range(3)] == ["axial", "coronal", "sagittal"]


def test_each_panel_shows_the_doses_of_its_own_row_and_plane(view):
    figure = overlay_figure(view, planes=[10, 15, 6])
    panels = _panels(figure)
    doses = {
        "Reference": view.dose_reference,
        "Prediction": view.dose_predicted,
        "Prediction - reference": view.dose_predicted - view.dose_reference,
    }
    for column, plane in enumerate(planes_through([10, 15, 6], view.image.shape, view.affine_ras)):
        for title, dose in doses.items():
            gray, wash = panels[title, column].images
            np.testing.assert_array_equal(gray.get_array(), plane.cut(reorient_lpi(view.image, view.affine_ras)))
            shown = np.ma.getdata(wash.get_array())
            np.testing.assert_allclose(shown, plane.cut(reorient_lpi(dose, view.affine_ras)))


def test_dose_scales_are_shared_and_the_error_scale_is_symmetric(view):
    panels = _panels(overlay_figure(view))
    limits = {key: panel.images[1].get_clim() for key, panel in panels.items()}
    assert len({limits[title, column] for title in ("Reference", "Prediction") for column in range(3)}) == 1
    assert limits["Reference", 0] == pytest.approx((8.0, 80.0))  # 10 % to 100 % of the highest dose of both
    assert {limits["Prediction - reference", column] for column in range(3)} == {(-10.0, 10.0)}
    cold = panels["Reference", 0].images[1].get_array()
    assert np.ma.getmaskarray(cold)[0, 0], "no color where there is no dose"


@pytest.mark.parametrize(
    ("highest_gy", "ticks"),
    [(80.0, [10, 20, 30, 40, 50, 60, 70, 80]), (7.0, [2, 4, 6]), (0.2, [0.05, 0.1, 0.15, 0.2])],
)
def test_a_low_dose_s_color_bar_has_numbers_too(view, highest_gy, ticks):
    factor = highest_gy / max(view.dose_reference.max(), view.dose_predicted.max())
    doses = {name: getattr(view, name) * factor for name in ("dose_reference", "dose_predicted")}
    figure = overlay_figure(dataclasses.replace(view, **doses))
    bar = next(axes for axes in figure.axes if axes.get_ylabel() == "Dose / Gy")
    assert bar.get_yticks().tolist() == pytest.approx(ticks)


def test_reference_contours_are_solid_and_predicted_ones_dashed(view):
    panels = _panels(overlay_figure(view, planes=[10, 17, 6]))  # through the parotid, the brainstem lies elsewhere
    parotid = COLORS[view.names.index("LeftParotid")]

    def styles(title):
        found = set()
        for lines in panels[title, 0].collections:
            (_, dashes), *_ = lines.get_linestyle()
            found.add((to_hex(lines.get_edgecolor()[0]).upper(), bool(dashes)))
        return found

    assert styles("Reference") == {(parotid, False), ("#FFFFFF", False)}
    assert styles("Prediction") == {(parotid, True), ("#FFFFFF", False)}
    assert styles("Prediction - reference") == {(parotid, False), (parotid, True), ("#FFFFFF", False)}


def test_a_contour_runs_along_the_border_of_its_voxels(view):
    panels = _panels(overlay_figure(view, planes=[10, 17, 6]))
    vertices = np.concatenate([p.vertices for p in panels["Reference", 0].collections[0].get_paths()])
    # the parotid covers columns 16 to 18 (j, right to left) of 4 mm and rows 8 to 11 (i): 64-76 mm and 32-48 mm
    np.testing.assert_allclose(vertices.min(axis=0), [64, 32])
    np.testing.assert_allclose(vertices.max(axis=0), [76, 48])


def test_without_truth_there_is_the_prediction_alone(view):
    bare = dataclasses.replace(view, reference={}, dose_reference=None)
    panels = _panels(overlay_figure(bare))
    assert {title for title, _ in panels} == {"Prediction"}


def test_without_a_dose_the_third_row_compares_contours(view, tmp_path):
    organs = dataclasses.replace(view, dose_reference=None, dose_predicted=None)
    figure = overlay_figure(organs)
    assert {title for title, _ in _panels(figure)} == {"Reference", "Prediction", "Both"}
    assert len(figure.axes) == 9, "no color bar"


def test_the_caption_says_where_the_planes_lie_and_what_was_measured(view):
    texts = [text.get_text() for text in overlay_figure(view, subtitle="oar: mean Dice 0.5").texts]
    assert texts[0] == "pt_1"
    assert "oar: mean Dice 0.5" in texts[1]
    assert "at least 90% of the highest dose: voxel" in texts[1]


def test_a_long_caption_stays_in_the_figure_and_above_the_panels(view):
    subtitle = "; ".join(f"structure {number}: mean Dice 0.{number}51" for number in range(1, 13))
    figure = overlay_figure(view, subtitle=subtitle)
    figure.canvas.draw()
    box = figure.texts[1].get_window_extent()
    assert box.x0 >= 0
    assert box.x1 <= figure.bbox.width
    titles = [axes.title.get_window_extent() for axes in figure.axes if axes.get_title()]
    assert max(title.y1 for title in titles) < box.y0
    assert figure.texts[1].get_text().replace("\n", " ").startswith(subtitle)


def test_the_legend_names_what_can_be_seen_and_nothing_else(view):
    (legend,) = overlay_figure(view).legends
    names = [text.get_text() for text in legend.get_texts()]
    assert names == ["Brainstem", "LeftParotid", "PTV70 (white)", "reference", "prediction"]


def test_the_legend_has_no_line_style_and_no_target_of_empty_contours(view):
    empty = {name: np.zeros_like(mask) for name, mask in view.reference.items()}
    figure = overlay_figure(dataclasses.replace(view, reference=empty, predicted=empty, targets=tuple(empty)[:1]))
    assert [text.get_text() for legend in figure.legends for text in legend.get_texts()] == []


def test_the_same_case_gives_the_same_bytes(view, tmp_path):
    first, second = (save_figure(overlay_figure(view), tmp_path / name) for name in ("a.png", "b.png"))
    assert first.read_bytes() == second.read_bytes()
    assert first.read_bytes().startswith(b"\x89PNG")


def test_figures_do_not_touch_pyplot(view):
    assert overlay_figure(view).canvas.manager is None


def test_panels_stand_side_by_side_within_the_figure():
    layout = Layout(rows=3, columns=3)
    boxes = [layout.panel(row, column) for row in range(3) for column in range(3)] + [layout.bar(r) for r in range(3)]
    for left, bottom, width, height in boxes:
        assert left > 0
        assert bottom > 0
        assert left + width < 1
        assert bottom + height < 1
    for a in range(len(boxes)):
        for b in range(a):
            apart = [
                boxes[a][axis] + boxes[a][axis + 2] <= boxes[b][axis]
                or boxes[b][axis] + boxes[b][axis + 2] <= boxes[a][axis]
                for axis in (0, 1)
            ]
            assert any(apart)


def test_a_frame_is_a_square_around_what_is_bright(patient):
    bright = reorient_lpi(patient.volumes["ct"] > -160, patient.affine_ras)
    axial, _, _ = planes_through((10, 12, 7), bright.shape, patient.affine_ras)
    # the body covers columns 3-20 and rows 2-17 of 4 mm: 12-84 mm and 8-72 mm; the wider side is 72 mm, margin 10 mm
    assert frame(axial, bright) == pytest.approx((2, 94, 86, -6))
    assert frame(axial, np.zeros_like(bright)) == pytest.approx((-10, 106, 98, -18))
