"""What stands before the server, called as a server calls it."""

import asyncio
import json

import pytest

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
    ["image=..%2Fa", "image=../a", "tag=a%00", "label=%2Fetc%2Fpasswd", "id=" + "x" * 65, "output=../x", "model=a+b"],
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


def test_what_is_no_request_passes_untouched():
    seen = []

    async def app(scope, receive, send):
        seen.append(scope["type"])

    asyncio.run(Guard(app, 1)({"type": "lifespan"}, None, None))
    assert seen == ["lifespan"]
