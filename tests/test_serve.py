"""The search service: what it answers, what it refuses, and what it keeps to itself."""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib
from pathlib import Path

import httpx2
import numpy as np
import pytest
from PIL import Image
from serving import scenes
from starlette.testclient import TestClient

from hashzoo.codes import Codes
from hashzoo.search import Collection
from hashzoo.serve.app import CONDITION
from hashzoo.serve.limits import Limits
from hashzoo.serve.run import service
from hashzoo.serve.served import names_of


@pytest.fixture
def start(served, tmp_path):
    """Start the service of all three collections; no answer may name a place on this machine."""
    opened = []

    def started(limits=Limits(), **options):  # noqa: B008 - it is frozen
        client = TestClient(service(list(served.values()), limits, **options), raise_server_exceptions=False)
        client.event_hooks["response"].append(look)
        client.__enter__()
        opened.append(client)
        return client

    def look(response):
        response.read()
        for place in (str(tmp_path), "/served", "site-packages", "hashzoo/"):
            assert place not in response.text or response.headers["content-type"].startswith("text/html"), response.text
        assert response.status_code != 500, response.text
        if response.status_code >= 400:
            assert list(response.json()) == ["error"]

    yield started
    for client in opened:
        client.__exit__(None, None, None)


@pytest.fixture
def client(start):
    return start()


def soon(told) -> None:
    """Wait until something is told."""
    end = time.monotonic() + 30
    while not told():
        assert time.monotonic() < end, "half a minute has passed"
        time.sleep(0.01)


def picture(row=0, form="png") -> bytes:
    file = io.BytesIO()
    scenes().image(row).save(file, form)
    return file.getvalue()


def post(client, name, query, **options):
    return client.post(f"/api/collections/{name}/search", json={**query, **options})


def test_the_service_says_what_it_serves(client, served):
    listed = client.get("/api/collections").json()["collections"]
    assert [one["name"] for one in listed] == ["rows", "short", "files"]
    assert listed[0] == {
        **{"name": "rows", "codes": len(Collection(served["rows"])), "bits": 24, "method": "toy", "dataset": "scenes"},
        **{"encoders": {"image": "tiny", "text": "bow"}, "takes": ["image", "text"], "pictures": True},
        **{"columns": {"text": "VARCHAR", "labels": "VARCHAR[]"}, "outputs": False},
        "items": listed[1]["items"],
    }
    assert listed[2]["items"] is None
    assert client.get("/healthz").json() == {"status": "ok", "stale": []}


@pytest.mark.parametrize("name", ["rows", "short", "files"])
def test_hits_are_those_of_the_collection(client, served, name):
    collection = Collection(served[name])
    text, image = scenes().text(3), scenes().image(2)
    for response, answer in (
        (post(client, name, {"text": text}, k=5), collection.query(text=text, k=5)),
        (post(client, name, {"text": text}, k=2, rerank=4), collection.query(text=text, k=2, rerank=4)),
        (post(client, name, {"text": text}, k=200, radius=6), collection.query(text=text, k=200, radius=6)),
        (
            client.post(f"/api/collections/{name}/search/image?k=3", content=picture(2)),
            collection.query(image=image, k=3),
        ),
        (
            client.post(f"/api/collections/{name}/search/image", content=picture(2), params={"where": "id < 9"}),
            collection.query(image=image, where="id < 9"),
        ),
    ):
        assert response.status_code == 200, response.text
        found = response.json()
        real = answer.ids[0] >= 0
        assert [hit["id"] for hit in found["hits"]] == answer.ids[0][real].tolist()
        assert [hit["distance"] for hit in found["hits"]] == answer.distances[0][real].tolist()
        if answer.scores is not None:
            assert [hit["score"] for hit in found["hits"]] == pytest.approx(answer.scores[0][real].tolist())
        assert (found["collection"], found["codes"], found["bits"]) == (name, len(collection), collection.bits)
        bits = [bits_of(one, collection.bits) for one in (found["code"], *(hit["code"] for hit in found["hits"]))]
        assert [int((bits[0] != other).sum()) for other in bits[1:]] == [hit["distance"] for hit in found["hits"]]

    # What was found finds itself, by its code and by its id, and is told of by its id.
    hit = found["hits"][0]
    for query in ({"code": hit["code"]}, {"id": hit["id"]}):
        again = post(client, name, query, k=1).json()
        assert (again["code"], again["hits"][0]["distance"]) == (hit["code"], 0)
    item = client.get(f"/api/collections/{name}/items/{hit['id']}").json()
    assert item == {key: value for key, value in hit.items() if key != "distance"}


def bits_of(code: str, bits: int) -> np.ndarray:
    return Codes(np.frombuffer(bytes.fromhex(code), dtype=np.uint8)[None], bits).unpack()[0]


def test_pictures_are_small_and_found_again(client):
    shown = client.get("/api/collections/files/items/0/picture?side=16")
    assert shown.headers["content-type"] == "image/webp"
    with Image.open(io.BytesIO(shown.content)) as small:
        assert (small.format, max(small.size)) == ("WEBP", 16)
        wanted = scenes().image(0).resize(small.size)
        assert np.abs(np.asarray(small.convert("RGB"), float) - np.asarray(wanted, float)).mean() < 12
    hits = post(client, "rows", {"text": "a"}).json()["hits"]
    for hit in hits:
        assert client.get(f"/{hit['picture']}").status_code == 200
    missing = client.get("/api/collections/files/items/3/picture")
    assert (missing.status_code, missing.json()["error"]) == (404, "the picture of item 3 cannot be shown")
    assert client.get("/api/collections/files/items/99/picture").json()["error"] == "files has no item 99"


def test_requests_that_cannot_be_answered(client):
    address = "/api/collections/rows/search"
    for body, status, said in (
        ({}, 422, "one of text, code and id"),
        ({"text": "a", "id": 1}, 422, "one of text, code and id"),
        ({"text": "a", "k": 0}, 422, "k: "),
        ({"text": "a", "k": 201}, 422, "k: "),
        ({"text": "a", "radius": -1}, 422, "radius: "),
        ({"text": "a", "rerank": 5}, 400, "rerank"),
        ({"text": "a" * 10_001}, 422, "text: "),
        ({"text": "\ud800"}, 422, "text: "),
        ({"text": "a", "colour": "red"}, 422, "colour: "),
        ({"code": "zz"}, 422, "6 hexadecimal digits"),
        ({"code": "00 00 00"}, 422, "6 hexadecimal digits"),
        ({"code": "00"}, 422, "6 hexadecimal digits"),
        ({"id": 10**6}, 404, "rows has no item 1000000"),
        ({"id": 2**64}, 422, "id: "),
        ({"text": "a", "where": "nope = 1"}, 400, "nope"),
        ({"text": "a", "where": "read_text('/etc/hostname') IS NULL"}, 400, "condition"),
        ({"text": "a", "where": "1) OR (SELECT true"}, 400, "condition"),
        ({"code": "000000", "rerank": 20}, 400, "packed codes"),
        ([], 422, ""),
        ("text", 422, ""),
    ):
        response = client.post(address, content=json.dumps(body), headers={"content-type": "application/json"})
        assert (response.status_code, said in response.json()["error"]) == (status, True), (body, response.text)
    for content, kind, status in (
        (b"{", "application/json", 400),
        (b"\xff\xfe", "application/json", 400),
        (b'{"text": ' + b"[" * 100_000, "application/json", 400),
        (b'{"id": ' + b"9" * 10_000 + b"}", "application/json", 400),
        (b'{"text": "a", "k": NaN}', "application/json", 422),
        (b"", "application/json", 422),
        (b'{"text": "a"}', "text/plain", 422),
    ):
        response = client.post(address, content=content, headers={"content-type": kind})
        assert response.status_code == status, (content[:20], response.text)
    for path, status in (
        ("/api/collections/nothing/items/1", 404),
        ("/api/collections/rows/items/-1", 422),
        ("/api/collections/rows/items/x", 422),
        ("/api/collections/rows/items/1/picture?side=9999", 422),
        ("/api/collections/..%2f..%2fetc/items/1", 404),
        ("/docs", 404),
        ("/page.js/../../app.py", 404),
    ):
        assert client.get(path).status_code == status, path
    assert client.get(address).status_code == 405


def bomb(width: int, height: int) -> bytes:
    """A PNG file of a few bytes that claims many pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")
    )


def test_pictures_that_are_none(start):
    client = start(Limits(pixels=10_000))
    address = "/api/collections/files/search/image"
    tiff = io.BytesIO()
    scenes().image(0).save(tiff, "tiff")
    for content, said in (
        (b"", "no format"),
        (b"no picture", "no format"),
        (picture()[:100], "no readable picture"),
        (bomb(101, 100), "claims 101 x 100 pixels"),
        (bomb(60_000, 60_000), "pixels"),
        (tiff.getvalue(), "no format"),
        (b"GIF89a" + b"\xff" * 50, ""),
    ):
        response = client.post(address, content=content)
        assert (response.status_code, said in response.json()["error"]) == (422, True), response.text
    for form in ("jpeg", "webp", "gif", "bmp"):
        assert client.post(address, content=picture(0, form)).status_code == 200, form


def test_a_token_is_asked_for_where_there_is_something_to_see(start):
    client = start(token="open sesame".replace(" ", "-"))
    for path in ("/", "/page.css", "/page.js", "/theme.js", "/healthz"):
        assert client.get(path).status_code == 200, path
    for headers in (
        {},
        {"authorization": "Bearer open"},
        {"authorization": "Basic open-sesame"},
        {"authorization": "open-sesame"},
    ):
        for path in ("/api/collections", "/metrics", "/openapi.json", "/api/collections/rows/items/1/picture"):
            response = client.get(path, headers=headers)
            assert (response.status_code, response.headers["www-authenticate"]) == (401, "Bearer"), (path, headers)
    given = {"authorization": "Bearer open-sesame"}
    assert client.get("/api/collections", headers=given).status_code == 200
    assert client.get("/openapi.json", headers=given).json()["security"] == [{"token": []}]


def test_other_host_names_are_not_answered_to(start):
    client = start(hosts=("127.0.0.1", "localhost", "[::1]"))
    for host, status in (
        ("localhost:8000", 200),
        ("127.0.0.1", 200),
        ("[::1]:80", 200),
        ("evil.example", 421),
        ("", 421),
    ):
        assert client.get("/api/collections", headers={"host": host}).status_code == status, host


def test_large_bodies_are_refused_before_they_are_read(start):
    client = start(Limits(body=1000))

    for address in ("/api/collections/rows/search", "/api/collections/rows/search/image"):
        assert client.post(address, content=b"x" * 1001).status_code == 413
    parts = [{"type": "http.request", "body": b"x" * 600, "more_body": True} for _ in range(3)]
    status, headers = exchange(client.app, parts, headers=[(b"transfer-encoding", b"chunked")])
    assert (status, headers[b"connection"], len(parts)) == (413, b"close", 1)
    body = b" " * 900 + b'{"text":"a"}'
    headers = {"content-type": "application/json"}
    assert client.post("/api/collections/rows/search", content=body, headers=headers).status_code == 200
    assert b'hashzoo_refused_total{reason="body"} 3.0' in client.get("/metrics").content


def exchange(app, waiting, path="/api/collections/rows/search/image", headers=()):
    """Send a request to an ASGI application, message by message as it asks for them; the status and headers of its
    answer."""
    sent = []

    async def receive():
        if waiting:
            return waiting.pop(0)
        await asyncio.sleep(30)

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "query_string": b""}
    scope |= {"headers": list(headers), "http_version": "1.1", "scheme": "http", "root_path": "", "server": ("x", 80)}
    asyncio.run(app(scope, receive, send))
    return sent[0]["status"], dict(sent[0]["headers"])


def test_slow_requests_are_given_up(served):
    app = service([served["rows"]], Limits(seconds=0.1))
    part = {"type": "http.request", "body": b"x", "more_body": True}
    status, headers = exchange(app, [part], headers=[(b"content-length", b"100")])
    assert (status, headers[b"connection"], app.working) == (408, b"close", 0)


def test_too_many_at_once_are_told_to_come_again(start, monkeypatch):
    client = start(Limits(at_once=2))
    released = threading.Event()

    def slow(one, number):
        released.wait(30)
        return {}

    monkeypatch.setattr("hashzoo.serve.served.Served.item", slow)
    threads = [threading.Thread(target=client.get, args=("/api/collections/rows/items/1",)) for _ in range(2)]
    for thread in threads:
        thread.start()
    soon(lambda: client.app.working == 2)  # a request before that could take the place of the second one
    refused = client.get("/api/collections")
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    assert client.get("/healthz").status_code == 200
    released.set()
    for thread in threads:
        thread.join()
    assert client.get("/api/collections").status_code == 200


def test_conditions_can_be_left_out(start):
    client = start(Limits(where=False))
    assert "takes no conditions" in post(client, "rows", {"text": "a"}, where="id = 1").json()["error"]
    assert post(client, "rows", {"text": "a"}).status_code == 200


def test_what_a_writer_adds_is_seen(client, served, monkeypatch):
    monkeypatch.setattr("hashzoo.serve.app.REFRESH", 0.01)
    code = "ffffff"
    before = post(client, "rows", {"code": code}, k=1).json()
    assert before["hits"][0]["distance"] > 0
    writer = Collection(served["rows"])
    (number,) = writer.append(Codes(np.full((1, 3), 255, dtype=np.uint8), 24), metadata={"text": ["all ones"]})
    soon(lambda: post(client, "rows", {"code": code}, k=1).json()["codes"] > before["codes"])
    (hit,) = post(client, "rows", {"code": code}, k=1).json()["hits"]
    assert (hit["id"], hit["distance"], hit["metadata"]) == (number, 0, {"text": "all ones", "labels": None})
    writer.delete([number])
    soon(lambda: post(client, "rows", {"id": int(number)}).status_code == 404)


def test_a_collection_that_breaks_is_told_of_and_the_last_state_kept(client, served, monkeypatch, capsys):
    monkeypatch.setattr("hashzoo.serve.app.REFRESH", 0.01)
    before = post(client, "rows", {"text": "a"}).json()["hits"]
    content = (served["rows"] / "manifest.json").read_text()
    (served["rows"] / "manifest.json").write_text("{")
    soon(lambda: client.get("/healthz").json() == {"status": "ok", "stale": ["rows"]})
    assert post(client, "rows", {"text": "a"}).json()["hits"] == before
    (served["rows"] / "manifest.json").write_text(content)
    soon(lambda: not client.get("/healthz").json()["stale"])
    assert capsys.readouterr().err.count("rows cannot be read again") == 1
    with monkeypatch.context() as broken:
        broken.setattr("hashzoo.search.Collection.refresh", lambda collection: 1 / 0)  # no error of ours
        soon(lambda: "rows" in client.get("/healthz").json()["stale"])
    soon(lambda: not client.get("/healthz").json()["stale"])
    assert "rows cannot be read again: ZeroDivisionError: division by zero" in capsys.readouterr().err


def test_queries_that_come_together_are_answered_each_by_its_own(client, served):
    texts = [scenes().text(row) for row in range(40)]
    collections = {name: Collection(served[name]) for name in ("rows", "short")}
    wrong = []

    def ask(number):
        name = ("rows", "short")[number % 2]
        found = post(client, name, {"text": texts[number]}, k=3).json()
        answer = collections[name].query(text=texts[number], k=3)
        if [hit["id"] for hit in found["hits"]] != answer.ids[0].tolist():
            wrong.append(number)

    for collection in collections.values():
        collection.model()
    threads = [threading.Thread(target=ask, args=(number,)) for number in range(len(texts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not wrong


def test_what_is_counted(client):
    post(client, "rows", {"text": "a"})
    post(client, "rows", {"text": "a", "k": 0})
    text = client.get("/metrics").text
    route = 'route="/api/collections/{name}/search"'
    assert f'hashzoo_requests_total{{method="POST",{route},status="200"}} 1.0' in text
    assert f'hashzoo_requests_total{{method="POST",{route},status="422"}} 1.0' in text
    assert f"hashzoo_request_seconds_count{{{route}}} 2.0" in text
    assert 'hashzoo_step_seconds_count{collection="rows",step="encode"} 1.0' in text
    assert 'hashzoo_codes{collection="files"} 4.0' in text
    assert "hashzoo_working 0.0" in text


def test_the_page_asks_for_nothing_elsewhere(client):
    page = client.get("/")
    assert page.headers["content-security-policy"].startswith("default-src 'none'")
    assert client.get("/", headers={"if-none-match": page.headers["etag"]}).status_code == 304
    for path in ("/", "/page.css", "/page.js", "/theme.js"):
        assert "//" not in client.get(path).text.replace("http://www.w3.org/2000/svg", "").replace("// ", "")


def test_names_in_addresses(tmp_path):
    paths = [tmp_path / name for name in ("codes", "other/codes", "my codes", "..odd")]
    assert names_of(paths) == ["codes", "codes-2", "my-codes", "odd"]


def test_the_command_line_refuses(served, sentence, tmp_path, monkeypatch):
    empty = tmp_path / "token"
    empty.write_text("\n")
    for arguments, said in (
        ((tmp_path,), "there is no collection"),
        ((served["rows"], "--token-file", empty), "is empty"),
        ((served["rows"], "--token-file", tmp_path), "cannot be read as a token"),
        ((served["rows"], "--host", "no.such.host.invalid"), "is no address of this machine"),
    ):
        assert said in sentence("serve", "--port", 0, *arguments), arguments
    monkeypatch.setenv("HASHZOO_TOKEN", "two words")
    assert "printable ASCII" in sentence("serve", served["rows"])
    monkeypatch.delenv("HASHZOO_TOKEN")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert f"port {port} is taken" in sentence("serve", served["rows"], "--port", port)


def test_a_service_ends_when_it_is_asked_to(served, tiny):
    code = "import sys; sys.argv[0] = 'hashzoo'; from hashzoo.cli import main; main()"
    command = [sys.executable, "-c", code, "serve", str(served["files"]), "--port", "0"]
    path = os.pathsep.join([str(tiny.folder), os.environ.get("PYTHONPATH", "")])
    process = subprocess.Popen(command, env=os.environ | {"PYTHONPATH": path}, stdout=subprocess.PIPE, text=True)
    said = process.stdout.readline()
    address = said.partition(" at ")[2].partition(" ")[0]
    assert httpx2.get(f"{address}healthz").status_code == 200
    assert httpx2.get(f"{address}api/collections", headers={"host": "evil.example"}).status_code == 421
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0


def test_the_docs_name_every_request_option_and_limit(client):
    page = (Path(__file__).parents[1] / "docs" / "serve.md").read_text(encoding="utf-8")
    for path, methods in client.get("/openapi.json").json()["paths"].items():
        for method in methods:
            assert f"`{method.upper()} {path.replace('{name}', 'NAME').replace('{id}', 'ID')}" in page, path
    limits = Limits()
    for usual, option in (
        (f"{limits.body // 2**20} MB", "--max-body"),
        (f"{limits.pixels // 10**6} million", "--max-pixels"),
        (f"{limits.k}", "--max-k"),
        (f"{limits.seconds:g}", "--timeout"),
        (f"{limits.at_once}", "--max-at-once"),
    ):
        assert f"| {usual} | `{option}` |" in page, option
    assert f"| {limits.characters:,}, {CONDITION:,} |" in page
