"""Page and tables of a diagnosis say what was found, and nothing of what cannot be."""

import csv
import html
import json
import re

import pytest
from diagnoses import make_diagnosis

from ctan_monai.report import report_run
from ctan_monai.report.diagnosis_files import read_diagnosis, write_diagnosis
from ctan_monai.report.diagnosis_page import write_page


@pytest.fixture
def folder(tmp_path):
    """The folder of a diagnosis, as it was written and read again."""
    write_diagnosis(make_diagnosis(), tmp_path / "diagnosis")
    return tmp_path / "diagnosis"


def text_of(page):
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", page.read_text())).split())


def test_the_page_says_in_words_which_parts_act(folder):
    text = text_of(write_page(read_diagnosis(folder), folder, "my run"))
    assert "Does each part act? my run" in text
    assert "24 cases (20 independent) of the test split" in text
    assert "As trained: organ Dice 80.00 %; grade balanced accuracy 70.00 %." in text
    assert (
        "organ: worse when exchanged: query of organ, other tasks' features in all tasks;"
        " no change shown: masks of all tasks."
        " grade: no change shown: query of grade, other tasks' features in all tasks."
    ) in text
    assert "query of organ another case's -20.00 [-30.00, -10.00] worse" in text
    assert "masks of all tasks 0.5 +1.00 [-1.00, +3.00] unknown [unknown]" in text
    assert "P^4 512 336 14.2 18.0 33.4" in text
    assert "weights of stem 0.5 2 4 -0.250" in text  # norms, their ratio, the cosine


def test_a_part_that_is_better_exchanged_is_named_too(tmp_path):
    found = make_diagnosis()
    (masks,) = [entry for entry in found["experiments"] if entry["part"] == "masks of all tasks"]
    masks["answers"]["organ"] = "better"
    write_diagnosis(found, tmp_path)
    text = text_of(write_page(read_diagnosis(tmp_path), tmp_path, "my run"))
    expected = "organ: worse when exchanged: query of organ, other tasks' features in all tasks;"
    assert f"{expected} better when exchanged: masks of all tasks." in text


def test_what_one_decoder_reads_is_not_shown_for_another_task(folder):
    page = write_page(read_diagnosis(folder), folder, "my run").read_text()
    row = next(line for line in page.splitlines() if line.startswith("<tr><td>query of grade"))
    assert row.count("<td></td>") == 1


def test_the_page_has_an_image_for_each_question_and_needs_nothing_beside_it(folder):
    page = write_page(read_diagnosis(folder), folder, "my run").read_text()
    assert page.count("data:image/png;base64,") == 5
    assert "http" not in page
    assert "<script" not in page
    for name in ("effects", "shares", "ranks", "masks", "gradients"):
        assert (folder / "images" / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_a_diagnosis_of_few_parts_has_fewer_images(tmp_path):
    found = {**make_diagnosis(), "masks": [], "features": [], "gradients": [], "per_case": []}
    found["experiments"] = found["experiments"][:1]
    write_diagnosis(found, tmp_path)
    page = write_page(read_diagnosis(tmp_path), tmp_path, "my run").read_text()
    assert page.count("data:image/png;base64,") == 1  # the share of the whole image
    assert not (tmp_path / "masks.csv").exists()


def test_the_tables_hold_every_change_and_no_formula(folder):
    with (folder / "effects.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 5 * 2
    assert rows[2]["part"] == "query of organ"
    assert float(rows[2]["change"]) == -0.2
    assert rows[-1]["change"] == ""
    assert "'=c1" in (folder / "per_case.csv").read_text()
    assert "per_case" not in json.loads((folder / "diagnosis.json").read_text())


def test_a_runs_page_has_a_section_once_it_was_diagnosed(run_folder):
    assert "Does each part act?" not in report_run(run_folder).read_text()
    write_diagnosis(make_diagnosis(), run_folder / "diagnosis")
    page = report_run(run_folder).read_text()
    assert 'href="diagnosis/diagnosis.html"' in page
    assert "organ: worse when exchanged: query of organ" in page


def test_a_diagnosis_of_before_is_read_by_the_keys_of_today(folder):
    now = read_diagnosis(folder)
    text = (folder / "diagnosis.json").read_text()
    (folder / "diagnosis.json").write_text(text.replace('"metrics":', '"figures":'))
    assert json.loads((folder / "diagnosis.json").read_text()) != now
    assert read_diagnosis(folder) == now


@pytest.mark.parametrize("content", ["", "[]", '{"applies": false}'])
def test_a_damaged_file_and_a_network_without_parts_are_no_diagnosis(tmp_path, content):
    (tmp_path / "diagnosis.json").write_text(content)
    assert read_diagnosis(tmp_path) is None
    assert read_diagnosis(tmp_path / "nowhere") is None
