"""The pages and tables that a folder of predicted doses gets."""

import csv
import dataclasses
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from dose_predictions import ANSWERED, BODY, TARGET, box_case, predicted_dose, write_predictions

from ctan_monai.engines import write_data_record
from ctan_monai.errors import ConfigError
from ctan_monai.report import report_doses, report_predictions, report_run
from ctan_monai.report.dose_report import gamma_options

GOALS = """
goals:
- {structure: PTV, goal: D2% <= 104 %, source: "<mine>"}
- {structure: Rectum, goal: V20Gy < 5 cc}
- {structure: Bladder, goal: V50Gy < 50 %, fraction_gy: 2}
"""


class Page(HTMLParser):
    """Tables as rows of texts, images, links; checks that what is opened is closed."""

    def __init__(self, text):
        super().__init__()
        self.rows, self.images, self.links, self.open, self.words = [], [], [], [], ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        if tag == "img":
            self.images.append(dict(attrs))
        if tag == "a":
            self.links.append(dict(attrs)["href"])
        if tag not in ("meta", "img"):
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words += data
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data

    def row(self, *begin):
        (found,) = [row for row in self.rows if row[: len(begin)] == list(begin)]
        return found[len(begin) :]


def write_goals(folder):
    path = folder / "goals.yaml"
    path.write_text(GOALS)
    return path


@pytest.fixture(scope="module")
def reported(tmp_path_factory):
    """One prediction is right, one 3 Gy too high in the target; a third patient was never planned."""
    root = tmp_path_factory.mktemp("reported")
    cases = [
        (box_case("pt_1"), ANSWERED, predicted_dose()),
        (box_case("pt_2"), ANSWERED, predicted_dose(3.0)),
        (box_case("pt_3", planned=False), ANSWERED, predicted_dose(3.0)),
    ]
    folder = write_predictions(root, cases)
    assert report_doses(folder, targets=["PTV"], goals=write_goals(root)) == folder / "cohort.html"
    return folder


@pytest.fixture
def one(tmp_path):
    return write_predictions(tmp_path, [(box_case(), ANSWERED, predicted_dose(3.0))])


def read(path):
    return Page(path.read_text(encoding="utf-8"))


def table(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_a_patients_page_holds_images_goals_and_doses(reported):
    text = (reported / "patients" / "pt_2.html").read_text(encoding="utf-8")
    page = Page(text)
    assert "SYNTHETIC" in page.words
    assert page.row("Prescription") == ["60 Gy, 3 Gy per fraction"]
    difference = "+5.00 % of prescription"
    values = ["100.00 % of prescription", "105.00 % of prescription", difference]
    assert page.row("PTV", "D2% <= 104 % of prescription", "<mine>") == [*values, "met", "NOT met", "NO"]
    assert page.row("Rectum", "V20Gycc < 5 cc", "") == ["4.80 cc", "4.80 cc", "+0.00 cc", "met", "met", "yes"]
    assert "Not judged, not for 3 Gy per fraction: Bladder V50Gy < 50 %." in page.words
    assert page.row("PTV (15.4 cc)", "planned")[:2] == ["60.00", "60.00"]
    assert ["error", "+3.00", "+3.00", "+3.00", "+3.00", "+3.00", "+3.00", "+3.00"] in page.rows
    assert "Gamma was not computed: it was not asked for." in page.words
    assert len(page.images) == 2
    assert all(len(image["alt"]) > 40 for image in page.images)
    assert page.links == ["../cohort.html"]


def test_pages_need_nothing_beside_them_and_stay_small(reported):
    for path in (reported / "cohort.html", *(reported / "patients").glob("*.html")):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"https?:|<link|<script|url\(|src=\"(?!data:)", text)
        assert path.stat().st_size < 1.5e6


def test_a_patient_without_a_plan_gets_what_is_predicted_and_the_page_says_so(reported):
    page = read(reported / "patients" / "pt_3.html")
    assert "There is no planned dose for this case" in page.words
    assert "Predicted contours were used for Rectum, Bladder." in page.words
    assert page.row("Rectum", "V20Gycc < 5 cc", "") == ["4.80 cc", "met"]
    assert not [row for row in page.rows if row[:1] == ["error"]]


def test_the_page_of_all_gives_errors_by_organ_and_agreement_by_goal(reported):
    page = read(reported / "cohort.html")
    assert page.links == ["dose_statistics.csv", "goals.csv"] + [f"patients/pt_{number}.html" for number in (1, 2, 3)]
    assert all((reported / link).is_file() for link in page.links)
    assert "1 of 3 patients have no planned dose" in page.words
    # errors of 0 and 3 Gy: mean 1.5, standard deviation 3 / sqrt(2)
    assert page.row("PTV", "2", "Dmean") == ["+1.50 ± 2.12", "+1.50 [+0.75, +2.25]", "1.50"]
    assert page.row("PTV", "D2% <= 104 % of prescription", "<mine>") == ["1", "0", "1", "0", "1 of 2"]
    assert page.row("Rectum", "V20Gycc < 5 cc", "") == ["2", "0", "0", "0", "2 of 2"]
    assert "Judged for no patient (the patients' pages say why): Bladder V50Gy < 50 %." in page.words
    assert page.row("Rectum", "2", "0.750 ± 0.000"), "the Dice of both"


def test_tables_hold_every_metric(reported):
    doses = table(reported / "dose_statistics.csv")
    (mean,) = [row for row in doses if (row["case"], row["structure"], row["metric"]) == ("pt_2", "PTV", "Dmean")]
    assert (float(mean["planned_gy"]), float(mean["predicted_gy"]), float(mean["error_gy"])) == (60, 63, 3)
    assert {row["planned_gy"] for row in doses if row["case"] == "pt_3"} == {""}
    assert {row["contour"] for row in doses if row["case"] == "pt_3"} == {"predicted"}
    (high,) = [row for row in table(reported / "goals.csv") if row["case"] == "pt_2" and row["structure"] == "PTV"]
    assert (high["planned_met"], high["predicted_met"], high["agree"]) == ("yes", "no", "no")
    assert not (reported / "gamma.csv").exists()


def test_gamma_stands_on_both_pages_and_in_a_table_with_how_it_was_computed(one):
    pytest.importorskip("pymedphys")
    report_doses(one, targets=["PTV"], gamma={"max_points": 200})
    page = read(one / "patients" / "pt_1.html")
    rate, interval, examined, eligible = page.row("3 %/3 mm")
    assert (examined, eligible) == ("200", f"{BODY.sum() * 13 // 14:,}")
    for said in ("Global gamma", "60.0 Gy", "at least 10 % of the highest", "planned dose is known"):
        assert said in page.words
    assert "Gamma on the axial plane" in page.images[2]["alt"]
    (first, second) = table(one / "gamma.csv")
    assert f"{float(first['pass_percent']):.1f} %" == rate
    assert f"± {float(first['interval_95_percent']):.1f} %" == interval
    assert (second["dose_percent"], second["distance_mm"], second["normalization"]) == ("2.0", "2.0", "global")
    assert read(one / "cohort.html").row("3 %/3 mm")[0] == "1"
    report_doses(one, targets=["PTV"])
    assert not (one / "gamma.csv").exists(), "a table of an earlier report does not stay"


def test_a_case_that_cannot_be_read_is_named_and_the_others_are_reported_by_any_number_of_workers(tmp_path, caplog):
    cases = [(box_case(name), ANSWERED, predicted_dose()) for name in ("pt_1", "pt_2", "pt_3")]
    folder = write_predictions(tmp_path, cases)
    (tmp_path / "cache" / "pt_1.case").write_bytes(b"damaged")
    pages = [folder / "cohort.html", folder / "patients" / "pt_2.html", folder / "patients" / "pt_3.html"]
    written = []
    for workers in (0, 2):
        caplog.clear()
        report_doses(folder, workers=workers)
        assert "No dose report of pt_1" in caplog.text
        assert "Left out: pt_1" in read(folder / "cohort.html").words
        written.append([page.read_bytes() for page in pages])
    assert written[0] == written[1]


def test_structures_of_goals_that_no_case_has_are_named(one, tmp_path, caplog):
    path = tmp_path / "typo.yaml"
    path.write_text("goals: [{structure: Rectun, goal: Dmean < 1 Gy}, {structure: PTV, goal: Dmean > 1 Gy}]")
    report_doses(one, goals=path)
    assert "Goals name structures that no case has: ['Rectun']" in caplog.text


def test_predictions_without_a_dose_get_no_page_about_doses(predictions):
    content = json.loads((predictions / "cases.json").read_text())
    content["tasks"] = [task for task in content["tasks"] if task["name"] == "oar"]
    for case in content["cases"]:
        case["files"].pop("dose")
    (predictions / "cases.json").write_text(json.dumps(content))
    assert report_doses(predictions) is None
    assert "cohort.html" not in report_predictions(predictions).read_text(encoding="utf-8")


def test_a_report_of_predictions_leads_to_the_doses_and_both_are_repeated_to_the_byte(one):
    goals = write_goals(one.parent)
    path = report_predictions(one, goals=goals, gamma=False, targets=["PTV"], max_cases=0)
    assert read(path).links == ["cohort.html"]
    pages = [path, one / "cohort.html", one / "patients" / "pt_1.html"]
    first = [page.read_bytes() for page in pages]
    report_predictions(one, goals=goals, gamma=False, targets=["PTV"], max_cases=0)
    assert [page.read_bytes() for page in pages] == first
    assert not any(str(one.parent).encode() in page for page in first), "no path of this machine"


def test_a_prediction_for_a_new_ct_says_what_it_was_learned_from_and_is_judged_by_that_prescription(tmp_path):
    unknown = {"prescription_gy": None, "fractions": None, "synthetic": False}
    case = box_case(meta=unknown, planned=False)
    folder = write_predictions(tmp_path, [(case, {**ANSWERED, "Bladder": TARGET}, predicted_dose(3.0))])
    (tmp_path / "goals.yaml").write_text("goals: [{structure: Bladder, goal: D50% <= 104 %, fraction_gy: 2}]")
    record = {"synthetic": True, "prescriptions_gy": {"60": 9}, "normalized_to_gy": None, "cases": {"train": 9}}
    write_data_record(tmp_path / "run", record)
    report_doses(folder, goals=tmp_path / "goals.yaml", run_dir=tmp_path / "run")
    page = read(folder / "patients" / "pt_1.html")
    assert page.row("Prescription")[0].startswith("60 Gy (that of the doses which the network was trained on")
    assert "Trained on 9 SYNTHETIC phantoms, no patients; prescription 60 Gy." in page.words
    assert page.row("Bladder", "D50% <= 104 % of prescription", "")[0] == "105.00 % of prescription"
    assert "The dose per fraction is not known" in page.words


def test_a_prediction_without_any_structure_is_said_to_have_no_metrics(tmp_path):
    case = box_case(meta={"prescription_gy": None, "fractions": None, "synthetic": True}, planned=False)
    nothing = {name: np.zeros_like(mask) for name, mask in ANSWERED.items()}
    folder = write_predictions(tmp_path, [(dataclasses.replace(case, masks={}), nothing, predicted_dose(3.0))])
    report_doses(folder)
    page = read(folder / "patients" / "pt_1.html")
    assert "the page shows the predicted dose; no structure was given or predicted, so no metrics." in page.words


def test_only_structures_that_were_asked_for_targets_and_those_of_goals_are_reported(one, tmp_path):
    (tmp_path / "goals.yaml").write_text("goals: [{structure: Bladder, goal: Dmean < 1 Gy}]")
    report_doses(one, targets=["PTV"], structures=[], goals=tmp_path / "goals.yaml")
    found = {row["structure"] for row in table(one / "dose_statistics.csv")}
    assert found == {"PTV", "Bladder", "Rectum"}, "the rectum in its predicted contour"
    assert "inside External" in read(one / "patients" / "pt_1.html").words


def test_options_of_gamma_are_checked():
    assert gamma_options("false") is None
    assert gamma_options(True).criteria == ((3.0, 3.0), (2.0, 2.0))
    assert gamma_options({"criteria": [[2, 1]], "max_points": 7}).criteria == ((2.0, 1.0),)
    with pytest.raises(ConfigError, match=r"\['local'\] is unknown"):
        gamma_options({"local": True})
    with pytest.raises(ConfigError, match="Write criteria like"):
        gamma_options({"criteria": 3})
    with pytest.raises(ConfigError, match="neither true nor false"):
        gamma_options("maybe")


def test_a_runs_page_leads_to_the_doses_of_its_cases_where_goals_are_given(one, run_folder):
    moved = run_folder / "predictions"
    one.rename(moved)
    (one.parent / "cache").rename(run_folder / "cache")
    path = report_run(run_folder, moved, goals=write_goals(run_folder), targets=["PTV"], max_cases=0)
    assert read(path).links == ["predictions/cohort.html"]
    assert "It was not recorded what the network was trained on." in read(moved / "patients" / "pt_1.html").words
