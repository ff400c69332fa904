"""End to end: a CT stored in Orthanc is routed to the node, and its structures and dose come back to Orthanc."""

import subprocess
from io import BytesIO

import numpy as np
import pydicom
import pytest
from node_kit import ct_files, dcmtk, free_port, infer, listens, make_run, node_process, wait_for, write_settings
from orthanc_kit import orthanc
from pydicom.uid import ImplicitVRLittleEndian

pytestmark = pytest.mark.slow
KINDS = {"RTSTRUCT", "RTPLAN", "RTDOSE", "SEG"}


def contours(dataset):
    """Return the contours of each structure: image and points in mm."""
    names = {roi.ROINumber: roi.ROIName for roi in dataset.StructureSetROISequence}
    return {
        names[roi.ReferencedROINumber]: [
            (str(each.ContourImageSequence[0].ReferencedSOPInstanceUID), [float(value) for value in each.ContourData])
            for each in roi.ContourSequence
        ]
        for roi in dataset.ROIContourSequence
    }


@pytest.mark.promise(9, "a CT stored in Orthanc comes back there as the RTSTRUCT and RTDOSE that inferring writes")
def test_a_ct_in_orthanc_is_answered_there(tmp_path, record):
    echo, send = dcmtk("echoscu"), dcmtk("storescu")
    files = ct_files(tmp_path / "ct", slices=8, rows=64, columns=64, pixel_mm=(6.0, 6.0))
    run_dir, port = make_run(tmp_path / "run"), free_port()
    with orthanc(tmp_path / "orthanc", port) as pacs:
        destinations = {"pacs": {"ae_title": "ORTHANC", "host": "127.0.0.1", "port": pacs.port}}
        config = write_settings(
            tmp_path / "node.yaml", port=port, callers=["ORTHANC", "ECHOSCU"], destinations=destinations
        )
        with node_process(config, run_dir, tmp_path / "log.txt"):
            wait_for(lambda: listens(port), 120, "the node's start")
            subprocess.run([echo, "-aec", "CTAN_MONAI", "127.0.0.1", str(port)], check=True, timeout=60)
            to = ["-aec", "ORTHANC", "127.0.0.1", str(pacs.port)]
            subprocess.run([send, "+sd", "+r", *to, str(tmp_path / "ct")], check=True, timeout=60)
            wait_for(lambda: set(pacs.instances()) >= KINDS, 240, "the answer in Orthanc")
            found = pacs.instances()
            content = {kind: pacs.file(found[kind][0]) for kind in KINDS}
    assert {kind: len(each) for kind, each in found.items()} == {"CT": 8, **dict.fromkeys(KINDS, 1)}
    got = {kind: pydicom.dcmread(BytesIO(each)) for kind, each in content.items()}
    expected = {
        each.Modality: each for each in map(pydicom.dcmread, infer(tmp_path / "ct", run_dir, tmp_path / "out").values())
    }
    drawn = contours(got["RTSTRUCT"])
    assert drawn == contours(expected["RTSTRUCT"])
    assert drawn
    cts = {str(pydicom.dcmread(path).SOPInstanceUID) for path in files}
    assert {image for each in drawn.values() for image, _ in each} <= cts
    assert got["RTDOSE"].PixelData == expected["RTDOSE"].PixelData
    assert got["SEG"].PixelData == expected["SEG"].PixelData
    for name in ("StudyInstanceUID", "FrameOfReferenceUID", "PatientID", "DoseGridScaling", "GridFrameOffsetVector"):
        assert got["RTDOSE"][name].value == expected["RTDOSE"][name].value
    opens_elsewhere(content, got, tmp_path)
    log = (tmp_path / "log.txt").read_text()
    assert "Traceback" not in log
    assert str(got["RTDOSE"].PatientID) not in log
    record(f"RTSTRUCT of {len(drawn)} structures, RTPLAN, RTDOSE and SEG: contours, pixels and references equal")


def opens_elsewhere(content, got, folder):
    """Open the dose with SimpleITK and the segmentation with highdicom."""
    import highdicom
    import SimpleITK as sitk

    (folder / "RD.dcm").write_bytes(content["RTDOSE"])
    dose = sitk.GetArrayFromImage(sitk.ReadImage(str(folder / "RD.dcm")))
    np.testing.assert_array_equal(dose, got["RTDOSE"].pixel_array)
    assert got["RTDOSE"].file_meta.TransferSyntaxUID == ImplicitVRLittleEndian
    made = highdicom.seg.segread(BytesIO(content["SEG"]))
    assert made.number_of_segments >= 1
