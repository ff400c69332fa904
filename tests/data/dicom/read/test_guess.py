"""Guesses of what structures are meant, and the grouping of an export's names."""

import pytest

from ctan_monai.data.dicom.read.guess import guess_structure
from ctan_monai.data.dicom.read.survey import group_names

MEANT = {
    "Lunge links final": "Lung_L", "R. Lung 2": "Lung_R", "OAR_Haert": "Heart", "HEART_new": "Heart", "Herz1": "Heart",
    "SpinalCord_1": "SpinalCord", "Rückenmark": "SpinalCord", "Luftröhre": "Trachea", "BreastL": "Breast_L",
    "Parotis re": "Parotid_R", "PTV 50Gy": "PTV", "ptv_4005": "PTV", "CTVbreast": "CTV", "GTV1 final": "GTV",
}  # fmt: skip
NOT_MEANT = (
    "PTV-Skin", "Heart_PRV5", "Lungs-GTV", "zHelp", "Cord PRV", "PTV_Boost", "PTV_High", "CTVn", "Skin", "Lung",
    "opt Heart", "Ring_PTV", "Lung L opt", "", "12", "Lesion", "Heart+3mm",
)  # fmt: skip


@pytest.mark.parametrize(("name", "meaning"), MEANT.items())
def test_words_that_say_nothing_and_one_wrong_letter_do_not_count(name, meaning):
    assert guess_structure(name) == meaning


@pytest.mark.parametrize("name", NOT_MEANT)
def test_derived_structures_and_one_of_several_targets_mean_nothing_else(name):
    assert guess_structure(name) == ""


def test_a_side_is_never_guessed_away():
    assert guess_structure("Breats_L") == "Breast_L"
    assert guess_structure("Lung_X") == ""


def test_names_are_grouped_and_one_beside_another_is_passed_over():
    sets = [[{"Heart", "Herz1", "zRing"}], [{"Herz1", "PTV 50Gy"}], [{"Herz", "PTV"}, {"PTV old"}], [{"Cuore"}]]
    groups, unknown = group_names(sets)
    by_name = {group.structure: group for group in groups}
    assert list(by_name) == ["Heart", "PTV"]
    heart = by_name["Heart"]  # Herz1 would make the first patient's heart ambiguous
    assert (heart.names, heart.others) == ({"Cuore": 1, "Heart": 1, "Herz": 1}, {"Herz1": 2})
    assert heart.patients == 3
    assert by_name["PTV"].names == {"PTV": 1, "PTV 50Gy": 1}
    assert by_name["PTV"].guessed == ("PTV 50Gy",)
    assert unknown == {"PTV old": 1, "zRing": 1}
