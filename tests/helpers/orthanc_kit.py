"""A real Orthanc for tests: started with a configuration of its own, asked over its REST interface."""

from __future__ import annotations

import json
import shutil
import subprocess
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest
from node_kit import free_port, listens, wait_for

PLUGINS = Path("/usr/share/orthanc/plugins")
DICOMWEB = "libOrthancDicomWeb.so"
_ROUTE = """
function OnStoredInstance(instanceId, tags, metadata, origin)
  if tags['Modality'] == 'CT' then
    SendToModality(instanceId, 'node')
  end
end
"""


class Orthanc:
    """A running Orthanc.

    Attributes:
        port: of DICOM; its AE title is ORTHANC.
    """

    def __init__(self, port, http):
        self.port, self.http = port, http

    def ask(self, path):
        """Return the answer of a GET as bytes."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http}{path}", timeout=30) as answer:
            return answer.read()

    def instances(self):
        """Return the instances of each modality, as the ids of Orthanc."""
        found = {}
        for series in json.loads(self.ask("/series?expand")):
            found.setdefault(series["MainDicomTags"]["Modality"], []).extend(series["Instances"])
        return found

    def file(self, instance):
        """Return an instance's file."""
        return self.ask(f"/instances/{instance}/file")


@contextmanager
def orthanc(folder, node_port=None, title="CTAN_MONAI", plugins=(), **more):
    """Start Orthanc in a folder; CTs are routed to a node if its port is given. Skipped where it is missing."""
    paths = [str(PLUGINS / name) for name in plugins]
    if missing := [path for path in paths if not Path(path).is_file()]:
        pytest.skip(f"needs {missing[0]} (Debian: orthanc-dicomweb)")
    program = shutil.which("Orthanc", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
    if program is None:
        pytest.skip("needs Orthanc (Debian: orthanc)")
    folder.mkdir(parents=True)
    port, http = free_port(), free_port()
    config = {
        "Name": "test", "StorageDirectory": str(folder / "db"), "IndexDirectory": str(folder / "db"), "Plugins": paths,
        "DicomAet": "ORTHANC", "DicomPort": port, "HttpPort": http, "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False, "DicomAlwaysAllowStore": True, **more,
    }  # fmt: skip
    if node_port is not None:
        (folder / "route.lua").write_text(_ROUTE)
        config |= {
            "LuaScripts": [str(folder / "route.lua")],
            "DicomModalities": {"node": [title, "127.0.0.1", node_port]},
        }
    (folder / "orthanc.json").write_text(json.dumps(config))
    with (
        (folder / "log.txt").open("wb") as log,
        subprocess.Popen([program, str(folder / "orthanc.json")], stdout=log, stderr=log) as process,
    ):
        try:
            wait_for(lambda: listens(port) and listens(http), 60, "Orthanc's start")
            yield Orthanc(port, http)
        finally:
            process.terminate()
            process.wait(30)
