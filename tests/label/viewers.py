"""What 3D Slicer's module and OHIF's extension do, step by step, on a running server.

Slicer's steps go through the client of MONAI Label: that of the installed package, or the file that MONAILABEL_CLIENT
names, such as plugins/slicer/MONAILabel/MONAILabelLib/client.py of a checkout.
"""

import gzip
import importlib.util
import io
import json
import os
import shutil
import tempfile
import time
from pathlib import Path

import nibabel as nib
import nrrd
import numpy as np
import SimpleITK as sitk
from volumes import ORGANS

NAME = "2: CT Pelvis 3mm"
JUDGES = ("synthetic_1", "synthetic_2")
ASKED = {"result_extension": ".nrrd", "result_dtype": "uint8"}
TRAINING = {"max_epochs": 3, "learning_rate": 0.0005, "layers": ["all", "task"]}
EXCHANGED = ("CTV", "Bladder", "Femur_L", "Femur_R", "Rectum")
FALL = 0.02


def client_of(url, folder):
    """Return MONAI Label's client."""
    path = os.environ.get("MONAILABEL_CLIENT")
    if path is None:
        from monailabel.client.client import MONAILabelClient

        return MONAILabelClient(url, str(folder), "user-test")
    spec = importlib.util.spec_from_file_location("slicer_client", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.MONAILabelClient(url, str(folder), "user-test")


def exported(reference, order, path):
    """Write what Slicer exports of segments in an order: numbers by position. Return what it sends along."""
    image = nib.load(reference)
    numbers, found = np.asarray(image.dataobj), np.zeros(image.shape, np.uint8)
    for place, organ in enumerate(order, start=1):
        found[numbers == ORGANS.index(organ) + 1] = place
    nib.save(nib.Nifti1Image(found, image.affine), path)
    entries = [{"name": organ, "idx": place} for place, organ in enumerate(order, start=1)]
    return {"label_info": entries, "model": "oar"}


def dice_of(client, labels, image):
    """Return the Dice of each organ, by what Slicer gets."""
    file, _ = client.infer("oar", image, dict(ASKED))
    found = sitk.GetArrayFromImage(sitk.ReadImage(file)).T
    wanted = np.asarray(nib.load(labels / f"{image}.nii.gz").dataobj)
    both = [(found == at, wanted == at) for at in range(1, len(ORGANS) + 1)]
    return {organ: 2 * (a & b).sum() / max(1, a.sum() + b.sum()) for organ, (a, b) in zip(ORGANS, both, strict=True)}


def slicer(server, studies, labels):
    """Connect, next sample, upload, infer, submit with a segment deleted and with two reordered, train, infer again."""
    folder = Path(tempfile.mkdtemp(dir=labels.parent))
    client = client_of(server.url, folder)
    info = client.info()
    server.check("Slicer connects and finds labels", set(info["labels"]) == set(ORGANS), info["labels"])
    sample = client.next_sample("random", {})
    server.check("the next sample names no folder", "/" not in json.dumps(sample), sample.get("path"))
    answered = client.upload_image(str(labels / "upload.nii.gz"), NAME)
    server.check("a volume is uploaded under Slicer's name for it", answered == {"image": NAME}, answered)
    server.check("and again, since nothing in it is new", client.upload_image(str(labels / "upload.nii.gz"), NAME))
    stored = [path.name for path in studies.glob("image-*.nii.gz")]
    server.check("its file has a plain name", len(stored) == 1, stored)
    other = server.ask("PUT", "/datastore/", params={"image": NAME},
                       files={"file": ("a.nii.gz", (studies / "synthetic_0.nii.gz").read_bytes())})  # fmt: skip
    server.check("another volume does not take its place", other.status_code == 400, other.text)
    session = client.create_session(str(labels / "upload.nii.gz"))
    server.check("a session names no folder", "/" not in json.dumps(session["session_info"]), session)
    file, said = client.infer("oar", "unsaved", dict(ASKED), session_id=session["session_id"])
    client.remove_session(session["session_id"])
    server.check("a volume of a session is answered", Path(file).suffix == ".nrrd", said["label_names"])
    submit(server, client, studies, labels, folder)
    before = {image: dice_of(client, labels, image) for image in JUDGES}
    server.check("nothing is learned while no label decides", not trained(server, client, TRAINING)["kept"])
    for image in JUDGES:  # labels of before, which nobody submits
        shutil.copyfile(labels / f"{image}.nii.gz", studies / "labels" / "final" / f"{image}.nii.gz")
    time.sleep(3)  # the server watches the folder
    found = trained(server, client, TRAINING)
    print("train_stats", json.dumps(found))
    server.check("the labels that lay in the folder decide", found["deciding_cases"] == 1, found["why"])
    after = {image: dice_of(client, labels, image) for image in JUDGES}
    for organ in ORGANS:
        old, new = (np.mean([each[image][organ] for image in JUDGES]) for each in (before, after))
        server.check(f"the Dice of {organ} on the other cases did not fall", new >= old - FALL, f"{old:.3f} {new:.3f}")
    file, _ = client.infer("oar", NAME, dict(ASKED))
    sizes = [sitk.ReadImage(str(path)).GetSize() for path in (file, labels / "upload.nii.gz")]
    server.check("Slicer infers again", sizes[0] == sizes[1], sizes[0])
    shutil.rmtree(folder)


def submit(server, client, studies, labels, folder):
    """Submit labels as Slicer does, also with names that say too little."""
    path = folder / "label.nii.gz"
    params = exported(labels / "synthetic_3.nii.gz", [organ for organ in ORGANS if organ != "Bladder"], path)
    found = client.save_label(NAME, str(path), "", params)
    server.check("a label without the bladder is taken", found["image"] == NAME, found)
    exported(labels / "synthetic_3.nii.gz", ORGANS[1:], path)
    nameless = {"label": ("a.nii.gz", path.read_bytes())}
    strange = {"label_info": [{"name": f"Segment_{at}"} for at in range(4)]}
    for what, info in {"no names": {}, "strange names": strange}.items():
        found = server.ask("PUT", f"/datastore/label?image={NAME}", files=nameless, data={"params": json.dumps(info)})
        server.check(f"four of five numbers with {what} are refused", found.status_code == 400, found.text)
    header = {}
    for at, organ in enumerate(("CTV", "Rectum")):
        header |= {f"Segment{at}_Name": organ, f"Segment{at}_LabelValue": "1", f"Segment{at}_Layer": str(at)}
    image = sitk.ReadImage(str(labels / "synthetic_0.nii.gz"))
    layers = sitk.Compose(image == 5, sitk.Or(image == 5, image == 1))
    for key, value in header.items():
        layers.SetMetaData(key, value)
    sitk.WriteImage(layers, str(folder / "label.seg.nrrd"))
    found = client.save_label("synthetic_0", str(folder / "label.seg.nrrd"), "", {})
    server.check("segments that overlap are taken", found["label"] == "synthetic_0", found)
    params = exported(labels / "synthetic_0.nii.gz", EXCHANGED, path)
    found = client.save_label("synthetic_0", str(path), "", params)
    server.check("so is a label map with two exchanged in their place", found["label"] == "synthetic_0", found)


def trained(server, client, options):
    """Train beside the server, watch as Slicer does, and return the metrics."""
    client.train_start("oar", dict(options))
    end, epochs = time.monotonic() + 300, set()
    while (task := client.train_status())["status"] in ("SUBMITTED", "RUNNING") and time.monotonic() < end:
        found = client.info()["train_stats"]["oar"]
        epochs |= set() if "total_time" in found else {found["epoch"]}
        time.sleep(0.2)
    found = client.info()["train_stats"]["oar"]
    bars = 0 <= found["best_metric"] <= 1 and found["total_epochs"] == options["max_epochs"]
    server.check("a training beside the server ends well", task["status"] == "DONE" and bars, sorted(epochs))
    server.check("its log names no folder", str(server.folder) not in json.dumps(task))
    return found


def ohif(server, image):
    """Ask as OHIF does, and read the answer as its parser must: bytes that are not packed."""
    asked = {**ASKED, "result_compress": False, "restore_label_idx": False}
    found = server.ask("POST", f"/infer/oar?image={image}&output=image", files={"params": (None, json.dumps(asked))})
    head, _, body = found.content.partition(b"\n\n")
    header = nrrd.read_header(io.BytesIO(head + b"\n\n"))
    sizes = [int(size) for size in header["sizes"]]
    plain = header["encoding"] == "raw" and header["type"] in ("unsigned char", "uint8", "uchar")
    server.check("OHIF gets an NRRD of bytes that are not packed", plain and len(body) == np.prod(sizes), sizes)
    usual = server.ask("POST", f"/infer/oar?image={image}&output=image").content
    numbers = np.asarray(nib.Nifti1Image.from_bytes(gzip.decompress(usual)).dataobj)
    same = np.array_equal(np.frombuffer(body, np.uint8).reshape(sizes, order="F"), numbers)
    server.check("with the labels that the NIfTI has", same)
    for name, value in {"result_extension": "../a", "result_dtype": "text"}.items():
        found = server.ask("POST", f"/infer/oar?image={image}", files={"params": (None, json.dumps({name: value}))})
        server.check(f"a {name} that there is not is refused", found.status_code == 400, found.text)
