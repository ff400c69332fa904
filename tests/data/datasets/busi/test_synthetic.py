"""Synthetic ultrasound: BUSI's layout, tumors whose shape depends on the class, and that it says what it is."""

import numpy as np
import pytest
from PIL import Image

from ctan_monai.data.datasets.busi.layout import find_busi
from ctan_monai.data.datasets.busi.synthetic import draw_ultrasound, write_ultrasound_phantoms


def extent(mask):
    rows, columns = np.nonzero(mask)
    return np.ptp(rows) + 1, np.ptp(columns) + 1


@pytest.mark.parametrize("seed", range(4))
def test_benign_tumors_are_wider_than_tall_and_malignant_ones_taller_with_a_longer_border(seed):
    borders = {}
    for label, wider in (("benign", True), ("malignant", False)):
        gray, (mask,) = draw_ultrasound(label, seed)
        height, width = extent(mask)
        assert bool(width > height) is wider
        assert gray[mask].mean() < 0.6 * gray[~mask].mean()  # hypo-echoic
        edges = (mask[1:] != mask[:-1]).sum() + (mask[:, 1:] != mask[:, :-1]).sum()
        borders[label] = edges / np.sqrt(mask.sum())
    assert borders["malignant"] > 1.2 * borders["benign"]


def test_the_noise_is_speckle_whose_spread_grows_with_the_echo():
    gray, _ = draw_ultrasound("normal", 3)
    blocks = gray[:120, :160].astype(float).reshape(15, 8, 20, 8).transpose(0, 2, 1, 3).reshape(300, 64)
    assert np.corrcoef(blocks.mean(1), blocks.std(1))[0, 1] > 0.7


def test_a_seed_draws_the_same_and_another_seed_another():
    first, again, other = (draw_ultrasound("benign", seed)[0] for seed in (5, 5, 6))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_the_folder_has_every_case_that_busi_has(tmp_path):
    root = write_ultrasound_phantoms(tmp_path / "synthetic", images={"benign": 15, "malignant": 8, "normal": 1})
    assert "no patient" in (root / "SYNTHETIC.txt").read_text()
    found = find_busi(root).images
    assert sum(image.label == "benign" for image in found.values()) == 16  # one is there twice
    assert len(found["benign__10_"].masks) == 2
    assert found["benign__8_"].masks == ()
    assert not np.array(Image.open(found["normal__1_"].masks[0])).any()
    assert len({Image.open(image.path).size for image in found.values()}) > 1
    assert write_ultrasound_phantoms(tmp_path / "synthetic") == root  # not drawn again
