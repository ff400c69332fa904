"""From an export to a trained bundle, RTSTRUCT and RTDOSE: synthetic thoraxes, mixed names, two prescriptions."""

import dataclasses
import json
import shutil

import nibabel as nib
import numpy as np
import pydicom
import pytest
import yaml
from amp_kit import AMP
from dicom_validity import errors_of
from mr_dicom import CLASSES
from node_kit import Pacs, settings_in, wait_for
from node_kit import store as send
from pydicom.uid import ExplicitVRLittleEndian
from thorax_export import GRID, write_export
from typer.testing import CliRunner

from ctan_monai.apps.comparing.bundle import Bundle
from ctan_monai.apps.comparing.folds import check_folds
from ctan_monai.apps.comparing.plan import Plan, Row
from ctan_monai.apps.main import app
from ctan_monai.apps.new_dicom import plan_of, write_dicom_bundle
from ctan_monai.data import PhantomGrid, prepared_folder, read_case_file
from ctan_monai.data.dicom.read.names import read_mapping
from ctan_monai.data.phantom.cohort import make_cohort
from ctan_monai.engines.diagnosis.diagnose import Options, diagnose_run
from ctan_monai.node.service import Node
from ctan_monai.node.settings import Rule
from ctan_monai.serve.write_app import write_app
from ctan_monai.share import pack_bundle

LEARNED = {"Heart", "Lung_L", "Lung_R", "SpinalCord", "Esophagus", "Trachea", "Breast_L", "CTV"}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The proposal for an export, as a bundle, and what the console said."""
    folder = tmp_path_factory.mktemp("export")
    export = write_export(folder / "EXPORT")
    options = ["--boost", "sum", "--pixel-mm", "6", "--out", str(folder)]
    done = CliRunner().invoke(app, ["new", "breast", "--dicom", "--from", str(export), *options])
    assert done.exit_code == 0, done.output
    return export, folder / "breast", done.output


def test_the_proposal_has_every_structure_by_all_its_names_and_all_patients(made):
    _, bundle, output = made
    train = yaml.safe_load((bundle / "configs" / "train.yaml").read_text())
    assert set(train["tasks"][0]["labels"]) == LEARNED
    assert train["tasks"][1]["scale"] == 70.0  # of 50 Gy
    assert train["dicom"] == {"boost": "sum"}
    mapping = read_mapping(bundle / "configs" / "names.yaml")
    assert set(mapping["PTV"]) == {"PTV", "PTV 40.05", "PTV5000"}
    assert "zHelp" not in {name for names in mapping.values() for name in names}
    rows = json.loads((bundle / "cache" / "table.json").read_text())
    assert [row["status"] for row in rows] == ["accepted"] * 5
    without = [row for row in rows if "Trachea" not in row["facts"]["structures"]]
    assert len(without) == 1, "whose trachea is called zHelp"
    for row in rows:
        assert {*LEARNED, "PTV", "External"} - {"Trachea"} <= set(row["facts"]["structures"])
    assert sorted(row["facts"]["prescription_gy"] for row in rows) == [40.05, 40.05, 50, 50, 50.05]  # with a boost
    assert "PHANTOM0" not in output
    assert "Doe" not in output.replace(str(made[0].parent), "")


@pytest.mark.slow
def test_three_commands_lead_from_an_export_to_rtdose_and_rtstruct(run, made, tmp_path):
    export, bundle, _ = made
    options = {"bundle_root": str(bundle), "method": "hps", "amp": AMP}
    small = {"encoder": "resnet18", "epochs": 8, "val_interval": 4, "batch_size": 4, "image_size": [64, 64]}
    small |= {"learning_rate": 0.003, "augment": 0.0}
    trained = run(bundle, "train.yaml", run_id="training", dataset_dir=str(export), **options, **small)
    assert trained.check_properties() == []
    prepared = (bundle / "cache" / "manifest.json").read_text()
    folder = bundle / "runs" / "hps"
    record = json.loads((folder / "data.json").read_text())
    assert record["prescriptions_gy"] == {"40.05": 2, "50": 2, "50.05": 1}
    again = {**options, "encoder": "resnet18", "dataset_dir": str(export)}
    again["evaluating"] = ["$@validate#evaluator.run()"]  # pages are drawn at a training's end already
    run(bundle, "train.yaml", "evaluate.yaml", run_id="evaluating", **again)
    assert (bundle / "cache" / "manifest.json").read_text() == prepared, "new has prepared what training asks for"
    summary = json.loads((folder / "evaluation" / "summary.json").read_text())["metrics"]
    assert {"oar_dice_Heart", "dose_mae_External", "dose_error_PTV_D95%", "dose_error_Lung_L_V20Gy"} <= set(summary)
    source, out = export / "Doe_1", tmp_path / "out"
    predicted = run(
        bundle, "inference.yaml", run_id="inferring", kind="infer", input=str(source), output_dir=str(out), **options
    )
    assert predicted.check_properties() == []
    (case,) = {path.name for path in out.iterdir() if path.is_dir()} - {"report"}
    assert json.loads((out / "written.json").read_text())["model"] == "breast hps resnet18"
    for name in ("RS.dcm", "RD.dcm", "RP.dcm"):
        assert [error for error in errors_of(out / case / name) if "(0008,001c)" not in error] == []  # SyntheticData
    dose, structures = (pydicom.dcmread(out / case / name) for name in ("RD.dcm", "RS.dcm"))
    ct = pydicom.dcmread(source / "CT.0001.dcm")
    assert dose.pixel_array.shape == (GRID.slices, GRID.rows, GRID.columns)
    assert np.isfinite(dose.pixel_array * float(dose.DoseGridScaling)).all()
    assert dose.FrameOfReferenceUID == ct.FrameOfReferenceUID
    drawn = {roi.ROIName for roi in structures.StructureSetROISequence}
    assert drawn <= LEARNED
    assert drawn & {"Lung_L", "Lung_R"}, "black, large: what a network learns first"
    check_node(bundle, folder, source, tmp_path)
    check_tools(bundle, folder, export, tmp_path)


def check_node(bundle, folder, source, tmp_path, modality="CT", kinds=("RTSTRUCT", "RTDOSE", "RTPLAN")):
    """A CT or MR that is sent to the node comes back as what inferring writes."""
    with Pacs() as pacs:
        settings = settings_in(tmp_path / "node", pacs_port=pacs.port)
        options = {"device": "cpu", "formats": ["rtstruct", "rtdose"]}
        rule = Rule("planning", folder, bundle, ("pacs",), modality=modality, options=options)
        node = Node(dataclasses.replace(settings, rules=(rule,)))
        node.start()
        try:
            contexts = [(CLASSES[modality], ExplicitVRLittleEndian)]
            assert set(send(node.port, sorted(source.glob(f"{modality}.*.dcm")), contexts=contexts)) == {0}
            wait_for(lambda: len(pacs.got) == len(kinds), 180, "the answer")
        finally:
            node.stop()
    assert {each.Modality for each in pacs.datasets().values()} == set(kinds)


def check_tools(bundle, folder, export, tmp_path):
    """Compare's folds, diagnose, pack and MONAI Label's app take the bundle, as any other."""
    own = {"dataset_dir": str(export), "cache_dir": str(tmp_path / "cache")}
    made = Bundle(str(bundle), [word for name, value in own.items() for word in (f"--{name}", value)])
    made.check_folds(2)
    check_folds(Plan(str(bundle), (Row("hps", "hps"),), (0,), (), 1, "hps", "hps", (), folds=2), tmp_path, made)
    assert len(json.loads((tmp_path / "groups.json").read_text())) == 5
    shutil.copyfile(bundle / "configs" / "train.yaml", folder / "configs" / "train.yaml")
    changed = {**own, "bundle_root": str(bundle), "split_fractions": [0.4, 0.2, 0.4]}
    found = diagnose_run(folder, Options(cases=2, every=8, batches=1, draws=50, parts=("query",), overrides=changed))
    assert {entry["task"] for entry in found["experiments"] if entry["kind"] == "query"} == {"oar", "dose"}
    packed = pack_bundle(bundle, folder, tmp_path / "packed", vendored=False).folder
    assert (packed / "models" / "model.pt").is_file()
    app_folder = write_app(bundle, folder, tmp_path / "app")
    assert (app_folder.root / "start.py").is_file()


@pytest.mark.slow
def test_a_bundle_without_dose_needs_none_and_writes_none(run, tmp_path):
    export = write_export(tmp_path / "EXPORT", patients=3)
    for path in (*export.rglob("RD*.dcm"), *export.rglob("RP*.dcm")):
        path.unlink()
    options = ["--task", "segmentation:oar=Heart,Lung_L,Lung_R", "--pixel-mm", "6", "--body-margin-mm", "30"]
    done = CliRunner().invoke(app, ["new", "oars", "--dicom", "--from", str(export), *options, "--out", str(tmp_path)])
    assert done.exit_code == 0, done.output
    bundle = tmp_path / "oars"
    given = {"bundle_root": str(bundle), "amp": AMP}
    small = {"encoder": "resnet18", "epochs": 1, "batch_size": 4, "image_size": [32, 32], "dataset_dir": str(export)}
    run(bundle, "train.yaml", run_id="training", **given, **small)
    folder = bundle / "runs" / "hps"
    assert json.loads((folder / "data.json").read_text()).keys() == {"source", "synthetic", "cases"}
    again = {**given, "encoder": "resnet18", "dataset_dir": str(export)}
    evaluated = run(bundle, "train.yaml", "evaluate.yaml", run_id="evaluating", **again)
    assert evaluated.check_properties() == []
    assert "oar_dice_Heart" in json.loads((folder / "evaluation" / "summary.json").read_text())["metrics"]
    out = tmp_path / "out"
    run(bundle, "inference.yaml", run_id="inferring", kind="infer", input=str(export / "Doe_1"), output_dir=str(out),
        formats=["rtstruct", "nifti"], **given)  # fmt: skip
    ((case,),) = [json.loads((out / "written.json").read_text())["cases"]]
    assert case["dose_max_gy"] is None
    assert not list(out.rglob("RD.dcm"))
    ct, heart = (nib.load(next(out.glob(f"*/nifti/{name}.nii.gz"))) for name in ("ct", "Heart"))
    assert ct.shape == heart.shape == (GRID.columns, GRID.rows, GRID.slices), "of the CT, not of its crop"


def test_without_data_synthetic_patients_have_every_structure(tmp_path):
    plan = plan_of("head", [], ["Parotid_L", "Parotid_R", "SpinalCord", "GTV", "PTV"])
    config = yaml.safe_load((write_dicom_bundle(plan, tmp_path) / "configs" / "train.yaml").read_text())
    given = {
        key: value for key, value in config["phantom_grid"].items() if key not in ("_target_", "slices", "slice_mm")
    }
    small = {"rows": 64, "columns": 92, "slices": 14, "row_mm": 5.0, "column_mm": 5.0, "slice_mm": 8.0}
    grid = PhantomGrid(**given, **small)
    assert (grid.region, grid.others) == ("thorax", ("Parotid_L", "Parotid_R", "GTV"))
    options = {"pixel_mm": 6.0, "phantoms": 3, "phantom_grid": grid, "workers": 1, "progress": False}
    folder = prepared_folder(None, tmp_path / "cache", names=plan.mapping, **options)
    cases = [read_case_file(path) for path in folder.glob("cases/*.case")]
    assert len(cases) == 3
    for case in cases:
        assert all(case.masks[name].any() for name in plan.structures)


@pytest.mark.slow
def test_an_export_that_was_planned_on_mr_goes_the_same_way(run, tmp_path):
    grid = PhantomGrid(rows=80, columns=112, slices=24, row_mm=4.2, column_mm=4.2, slice_mm=5.0, modality="MR")
    export = make_cohort(tmp_path / "EXPORT", 3, grid=grid, progress=False).folder
    options = ["--image", "mr", "--pixel-mm", "8", "--out", str(tmp_path)]
    done = CliRunner().invoke(app, ["new", "mr_linac", "--dicom", "--from", str(export), *options])
    assert done.exit_code == 0, done.output
    assert "MR, rows x columns x slices" in done.output
    bundle = tmp_path / "mr_linac"
    prepared = (bundle / "cache" / "manifest.json").read_text()
    small = {"encoder": "resnet18", "epochs": 1, "batch_size": 4, "image_size": [32, 32]}
    given = {"bundle_root": str(bundle), "amp": AMP, "dataset_dir": str(export)}
    trained = run(bundle, "train.yaml", run_id="training", method="hps", inputs="contours", **given, **small)
    assert trained.check_properties() == []
    assert (bundle / "cache" / "manifest.json").read_text() == prepared, "new has prepared what training asks for"
    folder = bundle / "runs" / "hps"
    again = {**given, "method": "hps", "encoder": "resnet18"}
    evaluated = run(bundle, "train.yaml", "evaluate.yaml", run_id="evaluating", **again)
    assert evaluated.check_properties() == []
    summary = json.loads((folder / "evaluation" / "summary.json").read_text())["metrics"]
    assert np.isfinite([summary["oar_dice_Bladder"], summary["dose_mae_External"]]).all()
    source, out = export / "PHANTOM001", tmp_path / "out"
    run(bundle, "inference.yaml", run_id="inferring", kind="infer", bundle_root=str(bundle), amp=AMP,
        run_dir=str(folder), input=str(source), output_dir=str(out))  # fmt: skip
    (dose,) = (pydicom.dcmread(path) for path in out.rglob("RD.dcm"))
    assert dose.FrameOfReferenceUID == pydicom.dcmread(source / "MR.0001.dcm").FrameOfReferenceUID
    assert dose.pixel_array.shape == (grid.slices, grid.rows, grid.columns)
    options = {"method": "hps", "output_dir": str(bundle / "runs" / "mr_alone")}
    run(bundle, "train.yaml", run_id="training", **given, **small, **options)
    check_node(bundle, bundle / "runs" / "mr_alone", source, tmp_path, "MR", ("RTDOSE", "RTPLAN"))
