from __future__ import annotations

import numpy as np
import pytest

from ctan_monai.report.groupings_plot import groupings_figure, groupings_table, last_groupings
from ctan_monai.report.run_files import RunHistory


def layer(ct, organs, shared, entropy):
    total = ct + organs + shared
    mean = {"ct": ct / total, "organs": organs / total, "shared": shared / total}
    return {"mean": mean, "kernels": {"ct": ct, "organs": organs, "shared": shared}, "entropy": entropy}


@pytest.fixture
def history():
    """Two epochs of two layers; the deeper one shares less in the end."""
    first = {"conv_0": layer(1, 1, 2, 1.09), "conv_1": layer(1, 1, 2, 1.08)}
    last = {"conv_0": layer(0, 1, 3, 0.9), "conv_1": layer(2, 2, 0, 0.7)}
    epochs = [{"epoch": 1, "groupings": first}, {"epoch": 2}, {"epoch": 3, "groupings": last}]
    return RunHistory(epochs, {})


def test_bars_are_stacked_by_layer_with_what_is_shared_between_the_tasks(history):
    left, middle, right = groupings_figure(history).axes[:3]
    assert [text.get_text() for text in middle.get_legend().get_texts()] == ["ct", "shared", "organs"]
    stacks = [[bar.get_height() for bar in container] for container in middle.containers]
    assert stacks == [[0, 2], [3, 0], [1, 2]]
    bottoms = [[bar.get_y() for bar in container] for container in middle.containers]
    assert bottoms == [[0, 0], [0, 2], [3, 2]]
    tops = [bar.get_y() + bar.get_height() for bar in left.containers[-1]]
    assert tops == pytest.approx([1, 1])
    lines = {line.get_label(): line.get_xydata().tolist() for line in right.get_lines()}
    assert lines == {"conv_0": [[1, 1.09], [3, 0.9]], "conv_1": [[1, 1.08], [3, 0.7]]}


def test_below_are_the_groups_of_each_layer_over_the_epochs(history):
    panels = groupings_figure(history).axes[3:]
    assert [panel.get_title() for panel in panels] == ["conv_0 over training", "conv_1 over training"]
    tops = [area.get_paths()[0].vertices[:, 1] for area in panels[1].collections]  # of ct, shared, organs
    assert [sorted(set(np.round(top, 4))) for top in tops] == [[0, 0.25, 0.5], [0.25, 0.5, 0.75], [0.5, 0.75, 1]]


def test_several_runs_are_drawn_as_their_mean(history):
    other = RunHistory([{"epoch": 3, "groupings": {"conv_0": layer(2, 0, 2, 0.5), "conv_1": layer(0, 0, 4, 0.1)}}], {})
    left, middle, right, *_ = groupings_figure(history, other).axes
    assert [[bar.get_height() for bar in bars] for bars in middle.containers] == [[1, 1], [2.5, 2], [0.5, 1]]
    assert [bar.get_height() for bar in left.containers[0]] == pytest.approx([0.25, 0.25])
    lines = {line.get_label(): line.get_xydata().tolist() for line in right.get_lines()}
    assert lines == {"conv_0": [[3, 0.7]], "conv_1": [[3, pytest.approx(0.4)]]}  # the epoch that both have


def test_the_table_has_the_figures_numbers(history):
    table = groupings_table(history)
    assert table.head == ("layer", "ct", "shared", "organs", "entropy / nats")
    assert table.rows[1] == ["conv_1", "0.500 (2)", "0.000 (0)", "0.500 (2)", "0.7000"]


def test_other_networks_have_none():
    assert last_groupings(RunHistory([{"epoch": 1}], {})) == {}
