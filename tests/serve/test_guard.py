"""What stands before the server, called as a server calls it."""

import asyncio
import json

import pytest

from ctan_monai.errors import ConfigError
from ctan_monai.serve.guard import Guard


async def echo(scope, receive, send):
    """Answer with the number of bytes of the body."""
    count, more = 0, True
    while more:
        message = await receive()
        count += len(message["body"])
        more = message.get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": str(count).encode()})


def ask(app, path="/infer/oar", query="", body=(b"",), headers=(), upload_mib=0.001):
    """Return status and content of what the guard answers for an application."""
    sent, waiting = [], list(body)

    async def receive():
        part = waiting.pop(0)
        return {"type": "http.request", "body": part, "more_body": bool(waiting)}

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "query_string": query.encode()}
    asyncio.run(Guard(app, upload_mib)({**scope, "headers": list(headers)}, receive, send))
    content = b"".join(message.get("body", b"") for message in sent if message["type"] == "http.response.body")
    assert [message["type"] for message in sent].count("http.response.start") == 1
    return sent[0]["status"], json.loads(content)


def test_an_ordinary_request_passes():
    assert ask(echo, query="image=pt_7&output=json&check_sum=SHA256:ab", body=(b"abc", b"de")) == (200, 5)


@pytest.mark.parametrize(
    "query",
    [
        *("image=..%2Fa", "image=a/b", "image=a%5Cb", "label=%2Fa%2Fb", "label=a%0Ab", "id=..", "id=" + "x" * 201),
        *("tag=a%00", "tag=a/b", "model=a+b", "session_id=..", "output=../x", "uncompress=true", "uncompress=1"),
    ],
)
def test_names_in_parameters_are_checked(query):
    status, answer = ask(echo, query=query)
    assert status == 400
    assert answer["detail"]["remedy"]


@pytest.mark.parametrize("path", ["/infer/..%2Fx", "/infer/../x", "/model/a%00b", "/static/../../x", "/ohif/..%5cx"])
def test_parts_of_the_path_are_checked(path):
    assert ask(echo, path=path)[0] == 400


@pytest.mark.parametrize("path", ["/", "/info/", "/static/ohif/app.min.js", "/proxy/dicom/studies/1.2.3"])
def test_paths_of_the_server_itself_pass(path):
    assert ask(echo, path=path)[0] == 200


def test_a_body_whose_header_says_that_it_is_too_long_is_refused_unread():
    status, answer = ask(echo, body=(), headers=[(b"Content-Length", b"1049")])  # 0.001 MiB are 1048 bytes
    assert status == 413
    assert "0.001 MiB" in answer["detail"]["error"]


def test_a_body_that_turns_out_to_be_too_long_is_refused():
    assert ask(echo, body=[b"x" * 524, b"x" * 524]) == (200, 1048)
    assert ask(echo, body=[b"x" * 524, b"x" * 525])[0] == 413


def test_it_is_refused_too_if_the_application_makes_an_error_of_its_own_of_it():
    async def wrapping(scope, receive, send):
        try:
            await echo(scope, receive, send)
        except Exception:
            await send({"type": "http.response.start", "status": 400, "headers": []})
            await send({"type": "http.response.body", "body": b"there was an error parsing the body"})

    assert ask(wrapping, body=[b"x" * 2000])[0] == 413


def test_a_failure_is_answered_in_json_without_saying_what_failed():
    async def failing(scope, receive, send):
        raise RuntimeError("secret")

    async def plainly(scope, receive, send):
        await send({"type": "http.response.start", "status": 500, "headers": [(b"content-type", b"text/plain")]})
        await send({"type": "http.response.body", "body": b"Internal Server Error"})
        raise RuntimeError("secret")

    for app in (failing, plainly):
        status, answer = ask(app)
        assert status == 500
        assert "secret" not in json.dumps(answer)


@pytest.mark.parametrize("image", ["2%3A+CT+Pelvis+3mm", "M%C3%BCller", "a%20b", "x" * 100, "%E6%82%A3%E8%80%85"])
def test_an_image_may_be_called_anything_that_is_no_path(image):
    assert ask(echo, query=f"image={image}&uncompress=false")[0] == 200


def form(**fields):
    """Return header and body of a form; a field that is bytes is a file."""
    lines = []
    for name, content in fields.items():
        file = '; filename="a.nii.gz"' if isinstance(content, bytes) else ""
        lines += [b"--mark", f'Content-Disposition: form-data; name="{name}"{file}'.encode(), b""]
        lines += [content if isinstance(content, bytes) else content.encode()]
    return (b"Content-Type", b"multipart/form-data; boundary=mark"), b"\r\n".join([*lines, b"--mark--", b""])


NO_OBJECTS = ["[]", "3", '"a"', "[1", "true", '[["image", "a"]]', '{"label_info": [{"id": 1}], "label_info": []}']
PATHS = [
    {"image": "a/b"},
    {"label": "/a"},
    {"label_tag": "../a"},
    {"model": ["a"]},
    {"session_id": "a/b"},
    {"id": ".."},
]


@pytest.mark.parametrize("size", [1, 7, 10_000])
@pytest.mark.parametrize("content", [*NO_OBJECTS, *map(json.dumps, PATHS)])
def test_parameters_in_a_form_are_an_object_without_paths(content, size):
    header, body = form(file=b"x" * 200 + b'\r\n--mar name="params"', params=content)
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    status, answer = ask(echo, body=parts, headers=[header], upload_mib=1)
    assert status == 400
    assert answer["detail"]["remedy"]


@pytest.mark.parametrize("size", [1, 7, 10_000])
@pytest.mark.parametrize(
    "content", ["", "{}", "null", '{"image": "a b", "client_id": null, "label_info": [{"id": 1}]}']
)
def test_a_form_passes_whole_whatever_a_file_in_it_holds(content, size):
    header, body = form(params=content, file=b'--mark name="params"\r\n\r\n[]' * 30)
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    assert ask(echo, body=parts, headers=[header], upload_mib=1) == (200, len(body))


@pytest.mark.parametrize("kind", ["application/json", "application/json; charset=utf-8", None])
def test_so_are_parameters_in_json(kind):
    headers = [] if kind is None else [(b"content-type", kind.encode())]
    for content in ("[1]", "7", json.dumps({"image": "/a"})):
        assert ask(echo, body=[content.encode()], headers=headers)[0] == 400
    for content in ("", "null", json.dumps({"max_epochs": 1, "client_id": "user-1"})):
        assert ask(echo, body=[content.encode()], headers=headers)[0] == 200


def test_and_in_a_form_of_an_address():
    headers = [(b"content-type", b"application/x-www-form-urlencoded")]
    assert ask(echo, body=[b"params=%5B1%5D"], headers=headers)[0] == 400
    assert ask(echo, body=[b"params=%7B%7D"], headers=headers)[0] == 200


def from_page(origins=(), **headers):
    """Return the status of a request with headers of a browser."""
    given = [(key.replace("_", "-").encode(), value.encode()) for key, value in headers.items()]
    scope = {"type": "http", "method": "GET", "path": "/info/", "query_string": b"", "headers": given}
    sent = []

    async def receive():
        return {"type": "http.request", "body": b""}

    async def send(message):
        sent.append(message)

    asyncio.run(Guard(echo, 1, origins)(scope, receive, send))
    return sent[0]["status"]


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost:8000", "[::1]:8000", "LOCALHOST"])
def test_programs_and_the_servers_own_pages_are_answered(host):
    assert from_page(host=host) == 200
    assert from_page(host=host, origin=f"http://{host.lower()}", sec_fetch_site="same-origin") == 200
    assert from_page(host=host, sec_fetch_site="none", sec_fetch_mode="navigate") == 200
    assert from_page(host=host, sec_fetch_site="cross-site", sec_fetch_mode="navigate") == 200  # a link


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://pages.example.org"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:3000"},
        {"origin": "http://127.0.0.1:8000.example.org"},
        {"sec_fetch_site": "cross-site", "sec_fetch_mode": "no-cors"},
        {"sec_fetch_site": "same-site", "sec_fetch_mode": "cors"},
        {"host": "pages.example.org:8000"},
        {"host": "127.0.0.1.example.org"},
        {"host": ""},
    ],
)
def test_other_pages_and_names_are_not(headers):
    assert from_page(**{"host": "127.0.0.1:8000", **headers}) == 403


def test_pages_that_the_app_lists_are_answered():
    origins = ["http://127.0.0.1:3000", "https://Viewer.example.org/"]
    assert from_page(origins, host="127.0.0.1:8000", origin="http://127.0.0.1:3000", sec_fetch_site="same-site") == 200
    assert from_page(origins, host="viewer.example.org", origin="https://viewer.example.org") == 200
    assert from_page(origins, host="127.0.0.1:8000", origin="http://viewer.example.org") == 403
    for wrong in ("viewer.example.org", "http://a/b", "*", ""):
        with pytest.raises(ConfigError, match="no origin"):
            Guard(echo, 1, [wrong])


def test_answers_name_files_without_their_folders(tmp_path):
    studies = tmp_path / "the studies"
    given = {"path": f"{studies}/labels/a.nii.gz", "root": str(studies), "get": "/datastore/label?label=a", "n": [1.5]}

    async def telling(scope, receive, send):
        body = json.dumps(given).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for part in (body[:9], body[9:]):
            await send({"type": "http.response.body", "body": part, "more_body": part == body[:9]})

    async def receive():
        return {"type": "http.request", "body": b""}

    sent = []

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": "/info/", "query_string": b"", "headers": []}
    asyncio.run(Guard(telling, 1, folders=[studies])(scope, receive, send))
    body = b"".join(message["body"] for message in sent[1:])
    assert json.loads(body) == {"path": "a.nii.gz", "root": "", "get": "/datastore/label?label=a", "n": [1.5]}
    assert dict(sent[0]["headers"])[b"content-length"] == str(len(body)).encode()


def test_what_is_no_request_passes_untouched():
    seen = []

    async def app(scope, receive, send):
        seen.append(scope["type"])

    asyncio.run(Guard(app, 1)({"type": "lifespan"}, None, None))
    assert seen == ["lifespan"]
