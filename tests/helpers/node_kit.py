"""Parts of a DICOM node for tests: settings, a sender by pynetdicom, the tools of dcmtk."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections import defaultdict
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
import yaml
from dicom_phantoms import Patient
from known_anatomy import write_ct
from network_cases import fill_deterministically
from pynetdicom import AE, AllStoragePresentationContexts, _config, evt
from pynetdicom.sop_class import Verification

from ctan_monai.data.dicom.read.pseudonyms import Pseudonyms, read_or_make_key
from ctan_monai.engines.runs.run_record import write_run
from ctan_monai.engines.runs.torch_file import save_atomic
from ctan_monai.networks import create_network
from ctan_monai.node import jobs
from ctan_monai.node.incoming import Store
from ctan_monai.node.journal import Journal
from ctan_monai.node.receive import Receiver
from ctan_monai.node.settings import Destination, NodeSettings, Rule
from ctan_monai.node.studies import take
from ctan_monai.tasks import Regression, Segmentation

_config.STORE_SEND_CHUNKED_DATASET = True  # files are sent as they are, also damaged ones
CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
HELPERS = Path(__file__).parent
ROOT = HELPERS.parents[1]
PROSTATE = ROOT / "bundles" / "prostate"
DCMTK = "/usr/local/bin:/usr/bin:/opt/homebrew/bin"  # pynetdicom brings commands of the same names


def dcmtk(name):
    """Return the path of one of dcmtk's commands; the test is skipped where it is missing."""
    path = shutil.which(name, path=DCMTK)
    if path is None:
        pytest.skip(f"needs {name} (Debian: dcmtk)")
    return path


def settings_in(folder, **given):
    """Return settings whose rule takes every CT, and sends to the destination pacs."""
    folder.mkdir(parents=True, exist_ok=True)
    destinations = {"pacs": Destination("pacs", "PACS", "127.0.0.1", given.pop("pacs_port", 1))}
    rule = Rule("ct", folder, folder, ("pacs",))
    usual = {"port": 0, "page_port": 0, "quiet_s": 0.2, "retry_s": 0.1, "free_mib": 0, "idle_s": 5.0}
    return NodeSettings(folder=folder, rules=(rule,), destinations=destinations, **{**usual, **given})


def make_store(settings):
    """Return a store and its journal."""
    names = Pseudonyms(read_or_make_key(settings.folder / ".pseudonym.key"))
    return Store(settings, Journal(settings.folder), names)


def answered_store(folder, **given):
    """Return a store whose one study was predicted, and the answers' files: two of its own images."""
    store = make_store(settings_in(folder / "node", **given))
    files = ct_files(folder / "ct", slices=3)
    for path in files:
        image = pydicom.dcmread(path)
        store.add(b"", path.read_bytes(), str(image.SOPClassUID), str(image.SOPInstanceUID))
    (study,) = [row["uid"] for row in store.journal.rows("SELECT uid FROM studies")]
    take(store.journal, study, store.settings, time.time())
    job = jobs.start_next(store.journal, time.time())
    made = []
    for number in (0, 1):
        image = pydicom.dcmread(files[number])
        image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = f"2.25.{number + 1}"
        path = store.settings.folder / "answers" / str(job.id) / f"{number}.dcm"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save_as(path)
        syntax = str(image.file_meta.TransferSyntaxUID)
        file = path.relative_to(store.settings.folder).as_posix()
        uid, kind = str(image.SOPInstanceUID), str(image.SOPClassUID)
        made.append(jobs.Answer(uid, "CT", kind, syntax, file, path.stat().st_size, ""))
    jobs.finish(store.journal, job, made, ["pacs"], "", time.time())
    return store, [store.settings.folder / answer.file for answer in made]


def states(store):
    """Return the states of a store's deliveries."""
    return [row["state"] for row in store.journal.rows("SELECT state FROM deliveries ORDER BY answer")]


@contextmanager
def receiving(settings):
    """Run a receiver; yields it, its port and its journal."""
    store = make_store(settings)
    receiver = Receiver(store)
    port = receiver.start()
    try:
        yield receiver, port, store.journal
    finally:
        receiver.stop()
        store.journal.close()


def ct_files(folder, slices=4, **of_patient):
    """Write a small CT; return its files in order."""
    write_ct(Patient(**{"rows": 16, "columns": 16, "slices": slices, **of_patient}), folder)
    return sorted(path for path in folder.rglob("*") if path.is_file())


@contextmanager
def association(
    port, title="CTAN_MONAI", calling="TEST", contexts=((CT_IMAGE, "1.2.840.10008.1.2.1"),), tls=None, limit_s=30
):
    """Open an association; yields it, established or not. Answers may take ``limit_s``."""
    entity = AE(calling)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = limit_s  # on a busy machine
    entity.add_requested_context(Verification)
    for sop_class, syntax in contexts:
        entity.add_requested_context(sop_class, syntax)
    made = entity.associate("127.0.0.1", port, ae_title=title, tls_args=tls and (tls, "localhost"))
    try:
        yield made
    finally:
        if made.is_established:
            made.release()


def store(port, files, **how):
    """Send files; return the status of each."""
    with association(port, **how) as made:
        assert made.is_established
        return [made.send_c_store(pydicom.dcmread(path)).Status for path in files]


class Pacs:
    """A destination: a storage SCP that keeps every object that it gets, by UID.

    Attributes:
        got: encoded data sets by SOPInstanceUID, one for each time that it came.
        status: of its answers.
    """

    def __init__(self, title="PACS", port=0, tls=None):
        self.got, self.status, self.title, self.port, self.tls = defaultdict(list), 0, title, port, tls
        self._server = None

    def __enter__(self):
        entity = AE(self.title)
        entity.add_supported_context(Verification)
        for context in AllStoragePresentationContexts:
            entity.add_supported_context(context.abstract_syntax)
        handlers = [(evt.EVT_C_STORE, self._keep)]
        self._server = entity.start_server(
            ("127.0.0.1", self.port), block=False, evt_handlers=handlers, ssl_context=self.tls
        )
        self.port = self._server.server_address[1]
        return self

    def __exit__(self, *_):
        self._server.shutdown()

    def _keep(self, event):
        if self.status == 0:
            self.got[str(event.request.AffectedSOPInstanceUID)].append(event.encoded_dataset())
        return self.status

    def objects(self):
        """Return the objects."""
        return [pydicom.dcmread(BytesIO(each[-1]), force=True) for each in list(self.got.values())]

    def datasets(self):
        """Return the objects by modality."""
        return {dataset.Modality: dataset for dataset in self.objects()}


def make_run(folder):
    """Make the folder of a run of the prostate bundle whose network was filled, not trained."""
    tasks = (
        Segmentation("oar", ("Rectum", "Bladder", "Femur_L", "Femur_R", "CTV"), overlapping=True),
        Regression("dose", "Gy", 80.0, region="mask", nonnegative=True),
    )
    return make_run_of(folder, tasks, {"pixel_mm": 6.0}, decoder_options={"full_resolution": True})


def make_run_of(folder, tasks, settings, change=lambda network: None, **network):
    """Make the folder of a run with settings and a network that was filled and changed, not trained."""
    made = create_network("hps", tasks, "resnet18", **network)
    fill_deterministically(made)
    change(made)
    folder.mkdir(parents=True)
    write_run(made, folder)
    save_atomic(made.state_dict(), folder / "model.pt")
    (folder / "settings.json").write_text(json.dumps(settings))
    return folder


def without_uids(dataset, at=""):
    """Yield every value of a data set but UIDs and times of writing."""
    for element in dataset:
        place = f"{at}/{element.keyword or element.tag}"
        if element.VR == "SQ":
            for number, item in enumerate(element.value):
                yield from without_uids(item, f"{place}/{number}")
        elif element.VR not in ("UI", "DA", "TM", "DT"):
            yield place, element.value


def infer(source, run_dir, out, bundle=PROSTATE, **options):
    """Run a bundle's inference as a user would; returns the DICOM files by name."""
    from monai.bundle import run

    given = {"bundle_root": str(bundle), "run_dir": str(run_dir), "output_dir": str(out), "device": "cpu", **options}
    config = str(bundle / "configs" / "inference.yaml")
    run("inferring", config_file=config, input=str(source), cache_dir=str(out) + "-cache", **given)
    return {path.name: path for path in out.rglob("*.dcm")}


def wait_for(condition, seconds, what):
    """Wait until a condition holds, and return its value."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > end:
            pytest.fail(f"{what} did not happen in {seconds} s")
        time.sleep(0.1)
    return found


def write_settings(path, **entries):
    """Write a node's YAML file for the prostate bundle; returns it."""
    usual = {
        "folder": "node", "port": free_port(), "page_port": 0, "quiet_s": 1, "retry_s": 0.5, "free_mib": 1,
        "destinations": {"pacs": {"ae_title": "PACS", "host": "127.0.0.1", "port": 1}},
        "rules": [{"bundle": str(PROSTATE), "send_to": ["pacs"], "options": {"device": "cpu"}}],
    }  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump({**usual, **entries}))
    return path


@contextmanager
def node_process(config, run_dir, log):
    """Run a node by its command; yields the process, which is killed in the end."""
    command = [sys.executable, "-m", "ctan_monai", "node", "--config", str(config), "--run", str(run_dir)]
    paths = os.pathsep.join([str(HELPERS), *filter(None, [os.environ.get("PYTHONPATH")])])
    with (
        log.open("ab") as out,
        subprocess.Popen(command, cwd=ROOT, stderr=out, env={**os.environ, "PYTHONPATH": paths}) as process,
    ):
        try:
            yield process
        finally:
            process.kill()


def listens(port):
    """Tell whether something accepts connections at a port."""
    with socket.socket() as tried:
        return tried.connect_ex(("127.0.0.1", port)) == 0


def free_port():
    """Return a port that nothing listened on a moment ago."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]
