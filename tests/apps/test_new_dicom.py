"""`ctan-monai new --dicom`: bundles for structures and dose, of which the bundle prostate is one."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from ctan_monai.apps.main import app
from ctan_monai.apps.new_dicom import plan_of, write_dicom_bundle
from ctan_monai.apps.new_dicom_texts import goals_of
from ctan_monai.data.dicom.read.names import mapping_of, read_mapping
from ctan_monai.errors import ConfigError, DataError
from ctan_monai.metrics.goals import read_goals
from ctan_monai.tasks import Segmentation

ROOT = Path(__file__).parents[2]
PELVIS = ("Rectum", "Bladder", "Femur_L", "Femur_R", "CTV", "PTV")
BREAST = "Heart,Lung_L,Lung_R,SpinalCord,Breast_L,PTV"


def test_the_bundle_prostate_is_what_new_writes(tmp_path):
    made = write_dicom_bundle(plan_of("prostate", [], PELVIS), tmp_path)
    shipped = ROOT / "bundles" / "prostate"
    names = {path.name for path in (made / "configs").iterdir()}
    assert names == {path.name for path in (shipped / "configs").iterdir()}
    for name in names - {"metadata.json"}:
        expected = (shipped / "configs" / name).read_text(encoding="utf-8")
        written = (made / "configs" / name).read_text(encoding="utf-8")
        assert written.replace("prostate/configs/", "bundles/prostate/configs/") == expected, name
    ours, theirs = (json.loads((each / "configs" / "metadata.json").read_text()) for each in (made, shipped))
    for about in (ours, theirs):
        about["network_data_format"]["inputs"]["image"].pop("channel_def")  # what people call the channel
    same = ("network_data_format", "schema", "required_packages_version", "intended_use", "data_type", "monai_version")
    assert {key: ours[key] for key in same} == {key: theirs[key] for key in same}


def test_tasks_names_goals_and_options_follow_from_the_command(run, tmp_path):
    more = ["--prescription", "50", "--required", "PTV", "--boost", "sum", "--out", tmp_path]
    code, stdout, stderr = run(app, "new", "breast", "--dicom", "--structures", f"{BREAST},Skin_5mm", *more)
    assert code == 0, stderr
    assert f"{tmp_path / 'breast'}/configs/train.yaml" in stdout
    configs = tmp_path / "breast" / "configs"
    train, evaluate = (yaml.safe_load((configs / f"{name}.yaml").read_text()) for name in ("train", "evaluate"))
    oar, dose = train["tasks"]
    assert oar["labels"] == ["Heart", "Lung_L", "Lung_R", "SpinalCord", "Breast_L", "Skin_5mm"]
    assert oar["mirror_pairs"] == [["Lung_L", "Lung_R"]]
    mirror = next(each for each in train["train"]["preprocessing"]["transforms"] if "Mirror" in each["_target_"])
    assert mirror["prob"] == 0.0, "a mirror image would show a right breast that is called left"
    assert dose["scale"] == 70.0
    assert train["dicom"] == {"required": ["PTV"], "boost": "sum"}
    assert read_mapping(configs / "names.yaml") == {"Skin_5mm": ("Skin_5mm",)}  # which the table does not have
    assert evaluate["structures"]["labels"] == [*f"{BREAST},Skin_5mm,External".split(",")]
    assert evaluate["dose_metrics"][-1] == "V47.5Gy"  # 95 % of 50 Gy
    assert {goal.structure for goal in read_goals(configs / "goals.yaml").goals} == set(BREAST.split(",")) - {
        "Breast_L"
    }
    for path in (configs.parent / "docs" / "README.md", *configs.glob("*.yaml")):
        text = path.read_text()
        assert "{{" not in text
        assert max(map(len, text.splitlines())) <= 130, path


def test_what_is_drawn_can_be_said_as_a_task():
    plan = plan_of("lung", ["segmentation:oar=GTV,Lungs", "regression:dose=Gy@scale=75"], ["Heart", "PTV_High"])
    assert plan.structures == ("Heart", "PTV_High", "GTV", "Lungs")
    assert plan.labels == Segmentation("oar", ("GTV", "Lungs"), overlapping=True)
    assert (plan.scale, plan.planned) == (75.0, ["PTV_High"])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"structures": ["PTV", "External"]}, "leaves no structure to draw"),
        ({"structures": ["Heart", "dose"]}, "cannot name a mask"),
        ({"structures": ["Heart"], "required": ["PTV"]}, "PTV is not read"),
        (
            {"structures": ["Heart"], "task": ["classification:grade=2"]},
            "the tasks of a bundle for DICOM are oar and dose",
        ),
        ({"structures": ["Heart"], "options": {"boost": "both"}}, "'both' is unknown"),
        ({"structures": ["Heart"], "window": (240, -160)}, r"--window: 240,-160 was found.*-160,240"),
        (
            {"structures": ["Heart"], "prescribed": "plans"},
            r"--prescription-from: 'plans' was found.*names, or a table",
        ),
        ({"structures": ["Heart"], "options": {"body_margin_mm": -5}}, "body_margin_mm: -5 was found"),
    ],
)
def test_what_cannot_be_is_refused(given, message):
    with pytest.raises(ConfigError, match=message):
        plan_of("mine", **{"task": [], **given})


def test_names_window_margin_and_prescriptions_are_given_on_the_command_line(run, tmp_path):
    more = [
        "--window",
        "-500,1300",
        "--body-margin-mm",
        "20",
        "--ambiguous",
        "approved",
        "--prescription-from",
        "names",
    ]
    more += ["--names", "Heart: [Herz, '/cor.*/'], PTV: ZV", "--out", tmp_path]
    code, _, stderr = run(app, "new", "breast", "--dicom", "--structures", "Heart,PTV", *more)
    assert code == 0, stderr
    configs = tmp_path / "breast" / "configs"
    train, infer = (yaml.safe_load((configs / f"{name}.yaml").read_text()) for name in ("train", "inference"))
    assert train["windows"] == infer["windows"]["default"] == {"ct": [-500, 1300]}
    assert infer["windows"]["name"] == "windows", "inference takes the run's"
    assert train["dicom"] == {"ambiguous": "approved", "body_margin_mm": 20.0}
    assert train["prescription_gy"] == "names"
    assert read_mapping(configs / "names.yaml") == {"Heart": ("Herz", "/cor.*/"), "PTV": ("ZV",)}


def test_names_are_given_by_files_and_in_words_each_structure_once(tmp_path):
    (tmp_path / "names.yaml").write_text("Heart: Herz\n")
    assert mapping_of([str(tmp_path / "names.yaml"), "PTV: /ptv.*/"]) == {"Heart": ("Herz",), "PTV": ("/ptv.*/",)}
    for wrong, message in (
        ([str(tmp_path / "names.yaml"), "Heart: Cor"], r"\['Heart'\] stands there twice"),
        (["Heart: /(/"], "is no regular expression"),
        (["Heart: [Herz"], "the mapping of names cannot be read"),
        (["Heart: ZV, PTV: ZV"], "more than once"),
        ([str(tmp_path / "none.yaml")], "cannot be read"),
    ):
        with pytest.raises(DataError, match=message):
            mapping_of(wrong)


def test_with_nothing_but_a_segmentation_there_is_no_dose(tmp_path):
    plan = plan_of("oars", ["segmentation:oar=Heart,Lung_L,Lung_R"], ["PTV"])
    assert plan.options == {"need": ("structures",)}
    configs = write_dicom_bundle(plan, tmp_path) / "configs"
    train, evaluate, infer = (
        yaml.safe_load((configs / f"{n}.yaml").read_text()) for n in ("train", "evaluate", "inference")
    )
    assert [task["name"] for task in train["tasks"]] == ["oar"]
    assert train["dicom"] == {"need": ["structures"]}
    assert (train["method"], list(train["loss"]["options"])) == ("hps", ["oar"])
    assert infer["formats"] == ["rtstruct", "seg"]
    assert not (configs / "goals.yaml").exists()
    for text in ("dose_metrics", "gamma", "goals"):
        assert text not in evaluate | infer


def test_comments_of_goals_stay_with_them():
    text = "goals:\n# a\n- {structure: A, goal: x}\n# b\n- {structure: A, goal: y}\n- {structure: B, goal: y}\n"
    assert goals_of(text, ["B"]) == "goals:\n# b\n- {structure: B, goal: y}\n"
    assert goals_of(text, ["C"]) == ""


def test_a_bundle_for_planning_on_mr_has_an_mr_everywhere(tmp_path):
    made = write_dicom_bundle(plan_of("mr_linac", [], PELVIS, image="mr"), tmp_path)
    configs = {name: yaml.safe_load((made / "configs" / f"{name}.yaml").read_text()) for name in ("train", "inference")}
    for config in configs.values():
        assert config["image_channels"]["options"] == {"mr": ["mr"], "contours": ["mr", *PELVIS[:-1], "prescription"]}
    assert configs["train"]["image_format"]["values"].endswith(
        "0.5th and 99.5th percentile inside the body are 0 and 1"
    )
    assert configs["train"]["inputs"] == configs["inference"]["inputs"]["default"] == "mr"
    assert configs["train"]["dicom"] == {"modality": "MR"}
    assert (
        configs["train"]["phantom_grid"]["modality"]
        == configs["inference"]["listing"]["phantom_grid"]["modality"]
        == "MR"
    )
    for path in (made / "docs" / "README.md", *(made / "configs").glob("*.yaml")):
        assert not re.search(r"\b(ct|CT|HU)\b", path.read_text(encoding="utf-8")), path
    metadata = json.loads((made / "configs" / "metadata.json").read_text())
    assert metadata["network_data_format"]["inputs"]["image"]["modality"] == "MR"
    assert metadata["data_type"].startswith("DICOM: MR series")
    with pytest.raises(ConfigError, match="no HU"):
        plan_of("other", [], PELVIS, image="mr", window=(0, 100))
    with pytest.raises(ConfigError, match="--image"):
        plan_of("other", [], PELVIS, image="rgb")
