from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.transforms import NormalizeIntensity, ScaleIntensityRange
from tabular_data import TUMOUR, full_case, ramp, write_csv

from ctan_monai.data.cases.cache import write_case
from ctan_monai.data.cases.case import Case
from ctan_monai.data.datasets.tabular import tabular_datalist
from ctan_monai.errors import ConfigError, DataError
from ctan_monai.tasks import Segmentation
from ctan_monai.transforms import LoadCaseFiled, NormalizeChannelsd

IMAGE = torch.rand((3, 8, 9), generator=torch.Generator().manual_seed(0)) * 255


def test_a_window_is_monais_range():
    found = NormalizeChannelsd(["a", "b", "c"], "window", [20, 200])({"image": IMAGE})["image"]
    np.testing.assert_allclose(found, ScaleIntensityRange(20, 200, 0, 1, clip=True)(IMAGE), atol=1e-6)


def test_imagenet_is_what_torchvision_documents():
    """Images of 0 to 1 minus 0.485, 0.456, 0.406, divided by 0.229, 0.224, 0.225."""
    mean, std = (torch.tensor(v).reshape(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    found = NormalizeChannelsd(["red", "green", "blue"], "imagenet")({"image": IMAGE})["image"]
    torch.testing.assert_close(found, (IMAGE / 255 - mean) / std, atol=1e-5, rtol=1e-5)


@pytest.fixture
def item(tmp_path):
    rows = [full_case(tmp_path, f"p{at}", split=split) for at, split in enumerate(["train", "validation"])]
    path = write_csv(
        tmp_path / "cases.csv", [{k: row[k] for k in ("case", "image", "tumour", "split")} for row in rows]
    )
    return tabular_datalist(path, tmp_path / "cache", [TUMOUR], ["ct"], progress=False, workers=0)["train"][0]


def test_a_z_score_is_that_of_the_voxels_that_are_not_0_as_monai_has_it(item):
    sample = LoadCaseFiled([TUMOUR], ["ct"])(item)
    found = NormalizeChannelsd(["ct"], "zscore")(sample)["image"]
    expected = NormalizeIntensity(nonzero=True)(torch.from_numpy(ramp().astype(np.float32))[None])
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_slice_gets_the_z_score_of_its_volume(item):
    load, normalize = LoadCaseFiled([TUMOUR], ["ct"]), NormalizeChannelsd(["ct"], "zscore")
    whole = normalize(load(item))["image"]
    for index in (0, 3):
        np.testing.assert_array_equal(normalize(load({**item, "slice": index}))["image"], whole[..., index])


@pytest.mark.parametrize(
    ("method", "window", "setting"),
    [
        ("minmax", None, "normalize"),
        ("window", None, "window"),
        ("window", [3, 3], "window"),
        ("imagenet", None, "normalize"),
    ],
)
def test_settings_that_cannot_be_are_named(method, window, setting):
    with pytest.raises(ConfigError) as caught:
        NormalizeChannelsd(["ct"], method, window)
    assert caught.value.setting == setting


def test_a_case_of_another_origin_has_no_statistics(tmp_path):
    from ctan_monai.data.cases.cache import write_case
    from ctan_monai.data.cases.case import Case

    write_case(tmp_path / "a.case", Case("a", {"ct": ramp()}, {}, np.eye(4)))
    sample = LoadCaseFiled([TUMOUR], ["ct"])({"case": "a", "file": str(tmp_path / "a.case")})
    with pytest.raises(DataError, match="it has no statistics"):
        NormalizeChannelsd(["ct"], "zscore")(sample)


def test_percentiles_of_the_case_become_0_and_1_also_in_a_slice(tmp_path):
    values = np.linspace(0, 1000, 8).reshape(2, 2, 2)
    meta = {"percentiles": {"mr": [100.0, 900.0]}}
    write_case(tmp_path / "a.case", Case("a", {"mr": values}, {}, np.eye(4), {}, meta))
    load, normalize = LoadCaseFiled([Segmentation("x", ["y"])], ["mr"]), NormalizeChannelsd(["mr"], "percentiles")
    item = {"case": "a", "file": str(tmp_path / "a.case")}
    expected = np.clip((values - 100) / 800, 0, 1)
    assert normalize(load(item))["image"][0].numpy() == pytest.approx(expected, abs=1e-6)
    assert normalize(load({**item, "slice": 1}))["image"][0].numpy() == pytest.approx(expected[..., 1], abs=1e-6)
    with pytest.raises(DataError, match=r"it has no percentiles of \['pet'\]"):
        NormalizeChannelsd(["pet"], "percentiles")(load(item))
