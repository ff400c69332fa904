"""Studies of CT, MR and US behind one node get what the bundles' inferring writes for them, by their modality."""

from dataclasses import replace

import nibabel as nib
import numpy as np
import pydicom
import pytest
from mr_dicom import DicomPatient
from node_kit import ROOT, Pacs, association, infer, make_run_of, settings_in, wait_for, without_uids
from ultrasound_files import region, write_us

from ctan_monai.data.datasets.mr_ct.synthetic import write_pelvis_pairs
from ctan_monai.data.datasets.stoic.synthetic import draw_chest
from ctan_monai.data.phantom.cohort import PhantomGrid
from ctan_monai.node.service import Node
from ctan_monai.node.settings import Rule
from ctan_monai.tasks import Classification, Regression, Segmentation

pytestmark = pytest.mark.slow
LABELS = ("Prostate", "Bladder", "Rectum", "Femur_L", "Femur_R")
GRID = PhantomGrid(rows=40, columns=60, slices=16, row_mm=7.9, column_mm=7.6, slice_mm=6.0)


def chest_ct(folder):
    """Write a synthetic chest as a CT series; return the run's folder for it."""
    chest = draw_chest("mild", 0, (64, 64, 12))
    row, column, between = chest.spacing_mm
    DicomPatient(folder / "in").write("CT", chest.hu.transpose(1, 0, 2), np.diag([-column, -row, between, 1.0]))
    settings = {"image_size": [32, 32], "slice_mm": 3.0, "spatial_dims": 2, "depth": 8, "pooling": "mean"}
    tasks = (Classification("covid", ("covid",)), Classification("severe", ("severe",)))
    return make_run_of(folder / "run", tasks, settings | {"top_fraction": 0.1}, in_channels=1)


def pelvis_mr(folder):
    """Write a synthetic pelvis as an MR series; return the run's folder for it."""
    image = nib.load(next(write_pelvis_pairs(folder / "pairs", 1, grid=GRID).rglob("T2.nii.gz")))
    DicomPatient(folder / "in").write("MR", np.asarray(image.dataobj), image.affine)
    tasks = (Regression("ct", "HU", 300.0, region="mask"), Segmentation("organs", LABELS))
    settings = {"pixel_mm": None, "patch_size": [32, 32], "bias_field": False}
    network = {"in_channels": 1, "decoder_options": {"full_resolution": True}}
    return make_run_of(folder / "run", tasks, settings, draw_organs, **network)


def draw_organs(network):
    """Let no voxel be background, which is all that this network would find."""
    network.decoders["organs"].head.bias.data[0] = -1e6


def breast_us(folder):
    """Write an ultrasound image; return the run's folder for it."""
    (folder / "in").mkdir(parents=True)
    values = np.random.default_rng(1).integers(10, 200, (60, 90)).astype(np.uint8)
    write_us(folder / "in" / "us.dcm", values, regions=[region((0, 89), (0, 59))])
    tasks = (Segmentation("tumor", ("tumor",), overlapping=True), Classification("diagnosis", ("malignant",)))
    return make_run_of(folder / "run", tasks, {"image_size": [64, 64]}, in_channels=3)


STUDIES = {"CT": ("stoic", chest_ct), "MR": ("mr_ct", pelvis_mr), "US": ("busi", breast_us)}


def send(port, paths):
    """Send files of one kind; return their status."""
    images = [pydicom.dcmread(path) for path in paths]
    kind = (images[0].SOPClassUID, images[0].file_meta.TransferSyntaxUID)
    with association(port, contexts=[kind]) as made:
        return {made.send_c_store(image).Status for image in images}


def test_each_modality_gets_the_answers_of_its_bundle(tmp_path):
    runs = {modality: write(tmp_path / modality) for modality, (_, write) in STUDIES.items()}
    expected = {}
    for modality, (bundle, _) in STUDIES.items():
        folder = tmp_path / modality
        infer(folder / "in", runs[modality], folder / "out", ROOT / "bundles" / bundle)
        expected[modality] = [pydicom.dcmread(path) for path in (folder / "out").rglob("*.dcm")]
    assert {each.Modality for each in expected["CT"]} == {"SR"}
    assert {each.Modality for each in expected["MR"]} >= {"CT", "RTSTRUCT"}
    assert {each.Modality for each in expected["US"]} >= {"SR"}
    rules = tuple(
        Rule(modality, runs[modality], ROOT / "bundles" / bundle, ("pacs",), modality, options={"device": "cpu"})
        for modality, (bundle, _) in STUDIES.items()
    )
    total = sum(map(len, expected.values()))
    with Pacs() as pacs:
        node = Node(replace(settings_in(tmp_path / "node", pacs_port=pacs.port), rules=rules))
        node.start()
        try:
            for modality in STUDIES:
                files = [path for path in (tmp_path / modality / "in").rglob("*") if path.is_file()]
                assert send(node.port, files) == {0}
            wait_for(lambda: len(pacs.got) == total or failed(node), 500, "the answers")
            assert not failed(node)
        finally:
            node.stop()
        got = pacs.objects()
    for modality, written in expected.items():
        study = written[0].StudyInstanceUID
        found = {key(each): dict(without_uids(each)) for each in got if each.StudyInstanceUID == study}
        assert found == {key(each): dict(without_uids(each)) for each in written}, modality


def key(dataset):
    """Return what tells the answers of a study apart."""
    return dataset.Modality, int(dataset.get("InstanceNumber") or 0)


def failed(node):
    """Return the reasons of what cannot be predicted."""
    return [row["reason"] for row in node.journal.rows("SELECT reason FROM jobs WHERE state = 'failed'")]
