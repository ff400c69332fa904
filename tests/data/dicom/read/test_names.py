"""Names of structures are understood as clinics write them, and never guessed."""

import re

import pytest

from ctan_monai.data.dicom.read.names import StructureNames, _rows, normal_form, read_mapping
from ctan_monai.data.dicom.read.options import DicomOptions
from ctan_monai.errors import ConfigError, DataError


def meanings(names, mapping=None):
    matched = StructureNames(mapping).match(names)
    return {meaning: names[at] for meaning, at in matched.found.items()}


@pytest.mark.parametrize(
    ("written", "meaning"),
    [
        ("RECTUM", "Rectum"),
        ("rectum ", "Rectum"),
        ("Harnblase", "Bladder"),
        ("Femur L", "Femur_L"),
        ("Rt. Femur", "Femur_R"),
        ("FemurHeadL", "Femur_Head_L"),
        ("Femoral Head Rt", "Femur_Head_R"),
        ("ctv", "CTV"),
        ("PTV_1", "PTV"),
        ("seminal vesicles", "SeminalVes"),
        ("Penile-Bulb", "PenileBulb"),
        ("Bowel Bag", "Bag_Bowel"),
        ("BODY", "External"),
    ],
)
def test_names_of_clinics_are_understood(written, meaning):
    assert meanings([written]) == {meaning: written}


@pytest.mark.parametrize("written", ["PTV_eval", "Rectum_PRV", "~Rectum", "CTV+SV", "zRing", "Femur", "", "Rectum-PTV"])
def test_what_only_resembles_a_structure_is_unknown(written):
    matched = StructureNames().match([written])
    assert not matched.found
    assert matched.unknown == (written,)


def test_the_standard_name_wins_over_a_synonym_and_two_synonyms_are_ambiguous():
    assert meanings(["ctv1", "CTV", "ctv_prostate"]) == {"CTV": "CTV"}
    matched = StructureNames().match(["ctv1", "ctv_prostate", "Bladder"])
    assert list(matched.found) == ["Bladder"]
    assert matched.ambiguous == {"CTV": ("ctv1", "ctv_prostate")}


def test_a_mapping_wins_over_all_and_may_pass_names_over(tmp_path):
    path = tmp_path / "names.yaml"
    path.write_text("CTV: CTV_60\nFemur_L: [Femoral Head L, FHL]\nSigmoid2: [sigma neu]\nignore: [Bladder]\n")
    mapping = read_mapping(path)
    names = ["CTV", "ctv 60", "FHL", "Bladder", "Sigma Neu", "Rectum"]
    assert meanings(names, mapping) == {"CTV": "ctv 60", "Femur_L": "FHL", "Sigmoid2": "Sigma Neu", "Rectum": "Rectum"}
    assert StructureNames(mapping).match(names).unknown == ("CTV",)  # listed structures go by the list only


def test_a_structure_that_is_mapped_to_nothing_is_never_found(tmp_path):
    path = tmp_path / "names.yaml"
    path.write_text("CTV:\n")
    assert meanings(["CTV"], read_mapping(path)) == {}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("- a", "not one name per line"),
        ("a: [", "cannot be read"),
        ("2nd: x", "cannot name a mask"),
        ("dose: x", "cannot name a mask"),
        ("dose_region: x", "cannot name a mask"),
        ("CTV: [a, A]", "more than once"),
        ("CTV: a\nPTV: a", "more than once"),
        ("CTV: a\nPTV: b\nCTV: c", "'CTV' stands there twice"),
        ("Bladder: a\nbladder: b", "differ from other names in small and capital letters only"),
        ("Dose: x", "cannot name a mask"),
        ("known: x", "cannot name a mask"),
    ],
)
def test_a_mapping_that_cannot_be_meant_is_refused(tmp_path, text, reason):
    path = tmp_path / "names.yaml"
    path.write_text(text)
    with pytest.raises(DataError, match=reason):
        read_mapping(path)


@pytest.mark.parametrize("names", [{"CTV": ["a"], "PTV": ["A "]}, {"CTV": ["a"], "ctv": ["b"]}, {"dose": ["a"]}])
def test_names_given_in_a_config_are_checked_too(names):
    with pytest.raises(ConfigError, match="names: "):
        DicomOptions(names=names)


def test_the_synonyms_are_usable_names_and_none_has_two_meanings():
    rows = _rows()
    assert len(rows) > 100
    forms = [normal_form(synonym) for _, synonym in rows]
    assert len(set(forms)) == len(forms)
    own = {normal_form(name) for name, _ in rows}
    clashes = [(name, synonym) for name, synonym in rows if normal_form(synonym) in own - {normal_form(name)}]
    assert not clashes
    assert all(re.fullmatch(r"[A-Za-z][A-Za-z_]*", name) for name, _ in rows)


def test_every_left_synonym_has_a_right_twin():
    by_name = {}
    for name, synonym in _rows():
        by_name.setdefault(name, []).append(synonym)
    for name in ("Femur_", "Femur_Head_"):
        assert len(by_name[name + "L"]) == len(by_name[name + "R"])


def test_regular_expressions_are_matched_by_the_whole_name_after_lists():
    names = StructureNames({"PTV": [r"/ptv[ _]?\d*/"], "Heart": ["Herz", "/h.*/"], "ignore": ["/z.*/", "/.*opt/"]})
    matched = names.match(["PTV 50", "zRing", "HERZ", "hx", "PTV_50_opt", "PTV_50_eval"])
    assert matched.found == {"PTV": 0, "Heart": 2}
    assert matched.unknown == ("PTV_50_eval",)
    both = StructureNames({"A": ["/x.*/"], "B": ["/xy/"]}).match(["xy", "xz"])
    assert (both.found, both.unknown) == ({"A": 1}, ("xy",)), "two could be meant by xy"


def test_a_wrong_regular_expression_is_named():
    with pytest.raises(ConfigError, match=r"/\(/ is no regular expression"):
        DicomOptions(names={"PTV": ["/(/"]})


def test_sides_are_said_in_several_ways():
    own = ["Lunge re", "Lt Lung", "Herz", "Parotis_links", "Spinal Cord"]
    assert StructureNames().match(own).found == {"Lung_R": 0, "Lung_L": 1, "Heart": 2, "Parotid_L": 3, "SpinalCord": 4}
