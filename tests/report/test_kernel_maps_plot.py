import json

import numpy as np
import pytest

from ctan_monai.errors import DataError
from ctan_monai.report.kernel_maps_plot import kernel_maps_figure


def entry(layer, group, kernel, probability):
    return {"layer": layer, "group": group, "kernel": kernel, "probability": probability}


def test_groups_are_rows_with_what_is_shared_between_the_tasks_and_layers_are_columns(tmp_path):
    index = [entry("conv_0", "b", 1, 0.75), entry("conv_0", "shared", 0, 0.9), entry("conv_0", "shared", 3, 0.6)]
    index += [entry("conv_1", "a", 2, 1.0)]
    maps = np.arange(4 * 6, dtype=np.float32).reshape(4, 2, 3)
    path = tmp_path / "kernel_maps.npz"
    np.savez(path, image=np.ones((2, 3), np.float32), maps=maps, index=json.dumps(index))
    panels = np.array(kernel_maps_figure(path).axes).reshape(3, 4)  # image, two of conv_0, one of conv_1
    shown = {(r, c): panels[r][c].get_title() for r in range(3) for c in range(4) if panels[r][c].images}
    assert shown == {
        (0, 0): "a",
        (0, 3): "conv_1, 2\np 1.00",
        (1, 0): "shared",
        (1, 1): "conv_0, 0\np 0.90",
        (1, 2): "conv_0, 3\np 0.60",
        (2, 0): "b",
        (2, 1): "conv_0, 1\np 0.75",
    }
    assert np.array_equal(panels[0][3].images[0].get_array(), maps[3])


def test_a_damaged_file_is_named(tmp_path):
    path = tmp_path / "kernel_maps.npz"
    path.write_bytes(b"PK\x03\x04 no zip")
    with pytest.raises(DataError, match="it holds no maps"):
        kernel_maps_figure(path)
