"""The page, the health and the metrics say what the journal says, to this machine only, without a patient's name."""

import subprocess
import sys
import urllib.error
import urllib.request

import pydicom
import pytest
from node_kit import ct_files, settings_in
from node_kit import store as send

from ctan_monai.errors import ConfigError
from ctan_monai.node import jobs
from ctan_monai.node.page import Page
from ctan_monai.node.service import Node
from ctan_monai.node.studies import take


@pytest.fixture
def node(tmp_path):
    made = Node(settings_in(tmp_path / "node", quiet_s=1000.0))
    made.port = made.receiver.start()
    yield made
    made.stop()


@pytest.fixture
def page(node):
    made = Page(node)
    yield f"http://127.0.0.1:{made.port}"
    made.close()


def ask(url, **headers):
    request = urllib.request.Request(url, headers=headers)  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
            return answer.status, answer.read().decode(), answer.headers
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(), error.headers


def test_it_shows_studies_and_why_one_failed_under_pseudonyms(node, page, tmp_path):
    files = ct_files(tmp_path / "ct")
    assert "Nothing was received yet" in ask(page)[1]
    assert send(node.port, files) == [0] * 4
    assert "being received" in ask(page)[1]
    image = pydicom.dcmread(files[0])
    take(node.journal, str(image.StudyInstanceUID), node.settings, 1.0)
    jobs.fail(node.journal, jobs.start_next(node.journal, 2.0), "slices <b>are missing</b>.", 3.0)
    status, text, headers = ask(page)
    assert status == 200
    assert "failed" in text
    assert "slices &lt;b&gt;are missing&lt;/b&gt;." in text
    for secret in (image.PatientID, image.PatientName, image.StudyInstanceUID, image.SOPInstanceUID):
        assert str(secret) not in text
    assert "<script" not in text
    assert headers["Content-Security-Policy"].startswith("default-src 'none'")


def test_metrics_count_and_health_is_told(node, page, tmp_path):
    send(node.port, ct_files(tmp_path / "ct"))
    text = ask(page + "/metrics")[1]
    values = dict(line.split() for line in text.splitlines() if not line.startswith("#"))
    assert values["ctan_node_instances_total"] == "4"
    assert values["ctan_node_studies_being_received"] == "1"
    assert values["ctan_node_healthy"] == "1"
    assert ask(page + "/healthz")[:2] == (200, "ok\n")
    object.__setattr__(node.settings, "free_mib", 10**9)
    status, reason, _ = ask(page + "/healthz")
    assert status == 503
    assert "MiB left" in reason


@pytest.mark.parametrize(
    "path", ["/picture/../journal.sqlite", "/picture/1", "/journal.sqlite", "/..%2fjournal.sqlite"]
)
def test_nothing_else_is_served(path, page):
    assert ask(page + path)[0] == 404


def test_a_foreign_name_for_this_machine_is_refused(page):
    assert ask(page, Host="evil.example:80")[0] == 403


def test_a_second_node_on_the_folder_is_refused(node, tmp_path):
    code = (
        "import sys; sys.path.insert(0, sys.argv[2]); from pathlib import Path; from node_kit import settings_in\n"
        "from ctan_monai.node.service import Node; Node(settings_in(Path(sys.argv[1])))"
    )
    helpers = __file__.replace("node/test_page.py", "helpers")
    done = subprocess.run(
        [sys.executable, "-c", code, str(node.settings.folder), helpers], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 1
    assert ConfigError.__name__ in done.stderr
    assert "another node is running" in done.stderr
