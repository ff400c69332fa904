import csv

import numpy as np
import pytest

from ctan_monai.data.datasets.stoic.chest_scan import read_scan
from ctan_monai.data.datasets.stoic.crop import find_lungs
from ctan_monai.data.datasets.stoic.synthetic import EXTENTS, draw_chest, write_chest_phantoms
from ctan_monai.errors import DataError

SMALL = (64, 64, 16)
FEW = {"negative": 2, "mild": 1, "severe": 1}


def test_the_layout_is_the_published_one_and_says_that_it_is_synthetic(tmp_path):
    root = write_chest_phantoms(tmp_path / "x", patients=FEW, shape=SMALL)
    assert root.name == "x-1-0"
    assert sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()) == [
        "SYNTHETIC.txt",
        *(f"data/mha/SYN_000{number}.mha" for number in range(4)),
        "metadata/reference.csv",
    ]
    rows = list(csv.DictReader((root / "metadata" / "reference.csv").open()))
    assert sorted((row["probCOVID"], row["probSevere"]) for row in rows) == [
        ("0", "0"),
        ("0", "0"),
        ("1", "0"),
        ("1", "1"),
    ]
    for row in rows:
        scan = read_scan(root / "data" / "mha" / f"{row['PatientID']}.mha")
        assert scan.hu.shape == SMALL
        assert scan.about["Synthetic"] == "True"
        assert scan.about["PatientSex"] in "MF"
        assert b"CompressedData = True" in (root / "data" / "mha" / f"{row['PatientID']}.mha").read_bytes()[:500]


def test_the_same_seed_draws_the_same_bytes_and_another_one_others(tmp_path):
    roots = [write_chest_phantoms(tmp_path / name / "d", patients=FEW, shape=SMALL) for name in "ab"]
    other = write_chest_phantoms(tmp_path / "c" / "d", seed=1, patients=FEW, shape=SMALL)
    for path in sorted(roots[0].rglob("*.*")):
        assert path.is_dir() or path.read_bytes() == (roots[1] / path.relative_to(roots[0])).read_bytes()
    assert next(other.rglob("*.mha")).read_bytes() != next(roots[0].rglob("*.mha")).read_bytes()


@pytest.mark.parametrize("kind", list(EXTENTS))
def test_the_share_of_the_lungs_that_is_opaque_gives_the_label(kind):
    low, high = EXTENTS[kind]
    for number in range(3):
        chest = draw_chest(kind, number, SMALL)
        share = chest.opacities.sum() / chest.lungs.sum()
        assert low - 0.01 <= share <= high + 0.01
        clear = chest.lungs & ~chest.opacities
        if share:
            assert np.median(chest.hu[chest.opacities]) > np.median(chest.hu[clear]) + 200
        assert -950 < np.median(chest.hu[clear]) < -780


@pytest.mark.parametrize("kind", list(EXTENTS))
def test_its_lungs_are_found_where_they_were_drawn(kind):
    chest = draw_chest(kind, 5)
    found = find_lungs(chest.hu, chest.spacing_mm)
    assert found.kind == "lungs"
    for axis in (0, 1):
        drawn = np.flatnonzero(chest.lungs.any(axis=(1 - axis, 2)))
        step = chest.spacing_mm[axis]
        first, stop = found.box[axis]
        assert first * step == pytest.approx(drawn[0] * step - 10, abs=8)
        assert stop * step == pytest.approx((drawn[-1] + 1) * step + 10, abs=8)


def test_something_else_in_their_place_is_not_overwritten(tmp_path):
    (tmp_path / "x-1-0").mkdir()
    (tmp_path / "x-1-0" / "mine.txt").write_text("mine")
    with pytest.raises(DataError, match=r"without SYNTHETIC\.txt"):
        write_chest_phantoms(tmp_path / "x", patients=FEW, shape=SMALL)
    assert (tmp_path / "x-1-0" / "mine.txt").read_text() == "mine"
