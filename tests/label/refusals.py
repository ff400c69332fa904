"""Names, links and options that a running server must refuse, with a sentence."""

import tempfile
import time

IMAGES = ("synthetic_0", "synthetic_1")
BAD_IDS = ("../synthetic_0", "..", "/a/b", "a\0b", "a\nb", "x" * 201, "..\\x", "%2e%2e")


def says_why(response):
    """Tell whether a refusal is JSON with a sentence and a remedy, and shows no folder of the machine."""
    detail = response.json().get("detail", {})
    return bool(detail.get("error")) and bool(detail.get("remedy")) and tempfile.gettempdir() not in response.text


def refuse_names(server, studies):
    """No name leads out of the folders."""
    before = {path.name for path in studies.parent.iterdir()}
    for name in BAD_IDS:
        found = server.ask("POST", "/infer/oar", params={"image": name})
        server.check(f"the image {name[:20]!r} is refused", found.status_code == 400 and says_why(found))
    hidden = server.ask("POST", f"/infer/oar?image={IMAGES[0]}", files={"params": (None, '{"image": "/a/b"}')})
    server.check("nor is a file read that the parameters name", hidden.status_code == 400 and says_why(hidden))
    print("response", hidden.text)
    file = {"label": ("x.nii.gz", b"x")}
    for name in BAD_IDS[:4]:
        found = server.ask("PUT", "/datastore/label", params={"image": IMAGES[0], "tag": name}, files=file)
        server.check(f"the tag {name[:20]!r} is refused", found.status_code == 400)
        found = server.ask("PUT", "/datastore/image", params={"image": name}, files={"file": ("x.nii.gz", b"x")})
        server.check(f"an image is not stored as {name[:20]!r}", found.status_code == 400)
    whole = (studies / f"{IMAGES[0]}.nii.gz").read_bytes()
    named = server.ask("PUT", "/datastore/image", files={"file": ("../../a b.nii.gz", whole)})
    server.check("a file's own name loses its folders", named.json() == {"image": "a b"}, named.text)
    removed = server.ask("DELETE", "/datastore/image?id=a%20b").status_code == 200
    server.check("and the image can be removed again", removed and not list(studies.glob("image-*")))
    for name in ("datastore_v2.json", "image_names.json"):
        stored = server.ask("PUT", "/datastore/image", files={"file": (name, b"{}")})
        server.check(
            "a file of the server is not replaced", stored.status_code == 400 and says_why(stored), stored.text
        )
    server.check("nothing was written outside", {path.name for path in studies.parent.iterdir()} == before)
    unknown = server.ask("POST", "/infer/oar?image=nobody")
    server.check("an unknown image is a sentence", unknown.status_code == 400 and says_why(unknown), unknown.text)
    unknown = server.ask("POST", f"/infer/nothing?image={IMAGES[0]}")
    server.check("an unknown model too", unknown.status_code == 400 and says_why(unknown), unknown.text)
    unknown_parts(server)
    for content in ("{broken", "[1]", "7"):
        broken = server.ask("POST", f"/infer/oar?image={IMAGES[0]}", files={"params": (None, content)})
        refused = broken.status_code == 400 and says_why(broken)
        server.check(f"parameters that are {content} are refused", refused, broken.text)
    linked(server, studies)
    server.alive("bad names")


def unknown_parts(server):
    """What the app does not have, or no number is, is a sentence that names what there is."""
    for path in ("/train/nothing?run_sync=true", "/train/dose?run_sync=true", "/activelearning/nothing",
                 "/scoring/nothing?run_sync=true"):  # fmt: skip
        found = server.ask("POST", path, json={})
        server.check(f"{path} is a sentence", found.status_code == 400 and says_why(found), found.text)
    for content in ('{"max_epochs": Infinity}', '{"max_epochs": 1.5}', '{"max_epoch": 1}'):
        found = server.ask(
            "POST", "/train/oar?run_sync=true", data=content, headers={"Content-Type": "application/json"}
        )
        server.check(f"a training with {content} too", found.status_code == 400 and says_why(found), found.text)


def linked(server, studies):
    """A link is not followed out of the folder, not even by the name of an image that is to be stored."""
    outside = studies.with_name("outside.nii.gz")
    outside.write_bytes((studies / f"{IMAGES[0]}.nii.gz").read_bytes())
    before, link = outside.read_bytes(), studies / "link.nii.gz"
    link.symlink_to(outside)
    time.sleep(3)  # the server watches the folder
    listed = server.ask("GET", "/datastore/?output=all").json()["objects"]
    server.check("a link that leads out of the folder is not listed", "link" not in listed, sorted(listed))
    found = server.ask("POST", "/infer/oar?image=link")
    server.check("nor followed", found.status_code == 400 and says_why(found), found.text)
    other = (studies / f"{IMAGES[1]}.nii.gz").read_bytes()
    found = server.ask("PUT", "/datastore/image?image=link", files={"file": ("a.nii.gz", other)})
    server.check("nor written through", found.status_code == 400 and outside.read_bytes() == before, found.text)
    link.unlink()
    outside.unlink()
