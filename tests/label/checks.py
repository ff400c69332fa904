"""Ask a running server, check and print what it answers.

python checks.py URL STUDIES LABELS LOG UPLOAD_MIB
"""

import gzip
import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nibabel as nib
import numpy as np
import requests
from refusals import refuse_names, says_why
from requests_toolbelt import MultipartEncoder
from requests_toolbelt.multipart import decoder
from viewers import FALL, ohif, slicer

AT_ONCE = 50
IMAGES = ("synthetic_0", "synthetic_1", "synthetic_2")


class Server:
    """What the checks share: the address, and whether all of them held."""

    def __init__(self, url, upload_mib, folder):
        self.url, self.upload_mib, self.folder, self.failed, self.count = url, float(upload_mib), folder, [], 0

    def ask(self, method, path, **more):
        """Send a request."""
        return requests.request(method, f"{self.url}{path}", timeout=600, **more)

    def check(self, what, holds, shown=""):
        """Print whether something holds, and remember it."""
        self.count += 1
        if not holds:
            self.failed.append(what)
        print(f"{'ok  ' if holds else 'FAIL'} {what} {shown}", flush=True)

    def alive(self, after):
        """See that the server still answers."""
        found = self.ask("POST", f"/infer/oar?image={IMAGES[0]}&output=json")
        self.check(f"the server lives on after {after}", found.status_code == 200)


def infer(server, studies):
    """Every model answers, on the grid of the image."""
    info = server.ask("GET", "/info/").json()
    server.check("each task is a model", set(info["models"]) == {"oar", "dose"}, sorted(info["models"]))
    request = f"/infer/oar?image={IMAGES[0]}&output=json"
    found = server.ask("POST", request).json()
    print("request  POST", request)
    print("response", json.dumps(found, indent=1))
    server.check("five organs are measured", len(found["structures"]) == 5)
    image = nib.load(studies / f"{IMAGES[0]}.nii.gz")
    label, said = parts(server.ask("POST", f"/infer/oar?image={IMAGES[0]}&output=all"))
    on_grid = label.shape == image.shape and np.allclose(label.affine, image.affine, atol=1e-3)
    numbers = {int(number) for number in np.unique(np.asarray(label.dataobj))}
    server.check("the label map lies on the image's grid", on_grid, f"{label.shape}")
    server.check("it holds the labels that were found", numbers <= {0, *said["label_names"].values()}, sorted(numbers))
    dose, said = parts(server.ask("POST", f"/infer/dose?image={IMAGES[0]}&output=all"))
    values = dose.get_fdata()
    matches = abs(float(values.max()) - said["values"]["dose"]["max"]) < 1e-3
    server.check("the dose is a volume whose maximum the JSON says", matches, f"{values.max():.3f} Gy")
    saved = server.ask("GET", found["saved"]["dose"]["get"]).content
    beside = nib.Nifti1Image.from_bytes(gzip.decompress(saved)).get_fdata()
    server.check("the same dose was saved beside the label", np.array_equal(beside, values))
    last = found["structures"][-1]  # a map gives voxels that labels share to the last of them
    inside = values[np.asarray(label.dataobj) == found["label_names"][last["structure"]]]
    same = abs(inside.mean() - last["mean_gy"]) < 0.01 if len(inside) else last["status"] == "empty"
    server.check("the dose in the last structure is that of the two files", same, last)


def parts(response):
    """Return the image and the JSON of an answer with both."""
    found = {}
    for part in decoder.MultipartDecoder.from_response(response).parts:
        name = part.headers[b"Content-Disposition"].decode().split('name="')[1].split('"')[0]
        found[name] = part.content
    return nib.Nifti1Image.from_bytes(gzip.decompress(found["image"])), json.loads(found["params"])


def pages(server):
    """Only the server's own pages are answered, and no answer names a folder."""
    for headers in ({"Origin": "http://pages.example.org"}, {"Origin": "null"}, {"Host": "pages.example.org"}):
        for method, path in (
            ("GET", "/info/"),
            ("POST", f"/infer/oar?image={IMAGES[0]}&output=json"),
            ("OPTIONS", "/info/"),
        ):
            found = server.ask(method, path, headers=headers)
            foreign = found.status_code == 403 and "access-control-allow-origin" not in found.headers
            server.check(f"{method} with {headers} is refused", foreign and says_why(found), found.text)
    own = server.ask("GET", "/info/", headers={"Origin": server.url})
    server.check("a page of the server is answered", own.status_code == 200)
    answers = ("/info/", "/datastore/?output=train", "/datastore/?output=all", "/logs/?lines=500&html=false")
    answers += (f"/datastore/image/info?image={IMAGES[0]}", "/openapi.json")
    for path in answers:
        found = server.ask("GET", path)
        clean = str(server.folder) not in found.text and str(Path.home()) + "/" not in found.text
        server.check(f"{path} names no folder", found.status_code == 200 and clean, found.text[:99])


def refuse_files(server, studies, labels):
    """Broken files and large ones are refused with a sentence."""
    whole = (studies / f"{IMAGES[0]}.nii.gz").read_bytes()
    for what, content in {"cut": whole[:3000], "empty": b"", "text": b"hello" * 99}.items():
        found = server.ask("POST", "/infer/oar", files={"file": ("ct.nii.gz", content)})
        server.check(f"a file that is {what} is refused", found.status_code == 400 and says_why(found), found.text)
    found = server.ask("POST", "/infer/oar?output=json", files={"file": ("ct.nii.gz", whole)})
    server.check("a whole file that is sent along is answered", found.status_code == 200)
    session = server.ask("PUT", "/session/", files={"files": ("ct.nii.gz", whole)}).json()["session_id"]
    found = server.ask("POST", f"/infer/oar?session_id={session}&output=json")
    server.check("so is one of a session", found.status_code == 200, found.json().get("saved"))
    server.ask("DELETE", f"/session/{session}")
    refused = server.ask("PUT", "/session/?uncompress=true", files={"files": ("a.zip", b"x")})
    server.check("an archive is not unpacked", refused.status_code == 400 and says_why(refused), refused.text)
    packed = gzip.compress(bytes(int((server.upload_mib + 1) * 2**20)))
    found = server.ask("POST", "/infer/oar", files={"file": ("ct.nii.gz", packed)})
    server.check("what unpacks to more than the limit is refused", found.status_code == 413, found.text)
    found = server.ask("PUT", "/datastore/image?image=packed", files={"file": ("a.nii.gz", packed)})
    server.check("and not stored", found.status_code == 413 and says_why(found), found.text)
    (studies / "broken.nii.gz").write_bytes(whole[:3000])
    time.sleep(3)  # the server watches the folder
    found = server.ask("POST", "/infer/oar?image=broken")
    server.check("a broken file of the folder is refused", found.status_code == 400 and says_why(found), found.text)
    (studies / "broken.nii.gz").unlink()
    label = {"label": ("x.nii.gz", (labels / f"{IMAGES[0]}.nii.gz").read_bytes()[:500])}
    found = server.ask("PUT", f"/datastore/label?image={IMAGES[0]}&tag=final", files=label)
    server.check("so is a broken label", found.status_code == 400 and says_why(found), found.text)
    large = MultipartEncoder({"file": ("large.nii.gz", bytes(int((server.upload_mib + 1) * 2**20)))})
    body = large.to_string()
    pieces = (body[k : k + 2**16] for k in range(0, len(body), 2**16))
    for how, content in {"with its length": body, "in pieces": pieces}.items():
        status = sent(server, content, large.content_type)
        server.check(f"an upload over the limit, sent {how}, is refused", status == 413, status)
    server.alive("broken and large files")


def sent(server, body, kind):
    """Return the status that an upload gets; 413 too if the server closes while it is still being sent."""
    try:
        found = server.ask("PUT", "/datastore/image?image=large", data=body, headers={"Content-Type": kind})
        print("response", found.text)
        return found.status_code
    except requests.ConnectionError:
        listed = server.ask("GET", "/datastore/?output=all").json()["objects"]
        return 413 if "large" not in listed else 0


def at_once(server):
    """Fifty requests at the same time get the answers that they get one by one."""
    wanted = [(IMAGES[number % len(IMAGES)], ("oar", "dose")[number % 2]) for number in range(AT_ONCE)]

    def answer(request):
        found = server.ask("POST", f"/infer/{request[1]}?image={request[0]}&output=json")
        return found.status_code, found.json().get("structures"), found.json().get("values")

    alone = {request: answer(request) for request in set(wanted)}
    start = time.monotonic()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = list(pool.map(answer, wanted))
    seconds = time.monotonic() - start
    same = [answer == alone[request] for answer, request in zip(found, wanted, strict=True)]
    server.check(f"{AT_ONCE} requests at once get the answers of one by one", all(same), f"{seconds:.1f} s")
    server.check("all of them with 200", all(status == 200 for status, *_ in found))


def score(server):
    """What to label next, and nothing to learn from."""
    scored = server.ask("POST", "/scoring/uncertainty?run_sync=true").json()
    server.check("each image has a score", set(scored["scores"]) == set(IMAGES) and not scored["failed"], scored)
    chosen = server.ask("POST", "/activelearning/uncertain", json={}).json()
    highest = max(scored["scores"], key=lambda name: scored["scores"][name])
    server.check("the most uncertain image comes next", chosen["id"] == highest, chosen["id"])
    chosen = server.ask("POST", "/activelearning/random", json={}).json()
    server.check("or any other", chosen["id"] in IMAGES, chosen["id"])
    none = server.ask("POST", "/train/oar?run_sync=true", json={"max_epochs": 1})
    server.check("without a label nothing is learned", none.status_code == 400 and says_why(none), none.text)


def learn(server, labels):
    """Labels without names that are complete, a training in the server on request, and one beside it."""
    for image in IMAGES:
        file = {"label": (f"{image}.nii.gz", (labels / f"{image}.nii.gz").read_bytes())}
        found = server.ask("PUT", f"/datastore/label?image={image}&tag=final", files=file)
        server.check(f"the label of {image} is taken", found.status_code == 200, found.text)
    server.check("all are labeled then", server.ask("POST", "/activelearning/uncertain", json={}).json() == {})
    wrong = server.ask("POST", "/train/oar?run_sync=true", json={"max_epochs": "many"})
    server.check("options that are none are refused", wrong.status_code == 400 and says_why(wrong), wrong.text)
    before = server.ask("POST", f"/infer/oar?image={IMAGES[0]}&output=json").json()
    asked = {"max_epochs": 1, "layers": "all", "keep_unjudged": True}
    given = server.ask("POST", "/train/oar?run_sync=true", json=asked).json()
    print("request  POST /train/oar?run_sync=true", json.dumps(asked))
    print("response", json.dumps(given))
    fell = any(new < old - FALL for old, new in given["dice_by_label"].values())
    worse = given["dice_before"] is not None and given["dice_after"] < given["dice_before"]
    server.check("weights are kept on request, unless they are worse", given["kept"] != (fell or worse), given["why"])
    after = server.ask("POST", f"/infer/oar?image={IMAGES[0]}&output=json").json()
    server.check("and used at once", (after["version"] != before["version"]) == given["kept"])
    run = server.folder / "app" / "run"
    earlier = all((run / f"model.{name}.pt").is_file() for name in ("previous", "original"))
    server.check("the earlier ones stay", earlier or not given["kept"], sorted(path.name for path in run.iterdir()))
    server.ask("POST", "/train/oar", json={"max_epochs": 1})
    end = time.monotonic() + 300
    while server.ask("GET", "/train/").json()["status"] in ("SUBMITTED", "RUNNING") and time.monotonic() < end:
        time.sleep(1)
    stats = server.ask("GET", "/info/").json()["train_stats"]["oar"]
    server.check(
        "one that changes a task's own layers leaves the dose", stats["change_of_values"] == {"dose": 0.0}, stats
    )


def main(url, studies, labels, log, upload_mib):
    """Run all checks."""
    studies, labels = Path(studies), Path(labels)
    server = Server(url, upload_mib, studies.parent)
    infer(server, studies)
    refuse_names(server, studies)
    refuse_files(server, studies, labels)
    pages(server)
    ohif(server, IMAGES[0])
    at_once(server)
    score(server)
    slicer(server, studies, labels)
    learn(server, labels)
    local = "running on http://127.0.0.1:" in Path(log).read_text(errors="replace")
    server.check("it listens to this machine only", local)
    print(f"{server.count - len(server.failed)} of {server.count} checks held", *server.failed, sep="\n")
    return 1 if server.failed else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
