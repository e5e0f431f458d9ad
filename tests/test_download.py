"""Downloads against a server that cuts, lies, ignores ranges and forgets: whole and checked, or refused."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from hashzoo.data import download as module
from hashzoo.data.download import Remote, download
from hashzoo.errors import HashzooError

CONTENT = bytes(range(256)) * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
OTHERWISE = "give the folder with --from"


class Site(ThreadingHTTPServer):
    """Serves CONTENT under any name; the attributes say how badly."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = CONTENT
        self.cut = 0  # bytes after which each answer breaks off
        self.cuts = 0  # how many answers do
        self.ranges = True
        self.shift = 0  # how far beside the asked range an answer begins
        self.status: list[int] = []  # of the next answers
        self.asked: list[str | None] = []

    def remote(self, **known: object) -> Remote:
        known = known or {"sha256": SHA256, "size": len(CONTENT)}
        return Remote(f"http://127.0.0.1:{self.server_port}/files/set.zip", **known)  # type: ignore[arg-type]


class Handler(BaseHTTPRequestHandler):
    server: Site

    def do_GET(self) -> None:
        site, wanted = self.server, self.headers["Range"]
        site.asked.append(wanted)
        if site.status:
            return self.send_error(site.status.pop(0))
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and site.ranges else 0
        if start >= len(site.content):
            return self.send_error(416)
        start += site.shift if start else 0
        body = site.content[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(site.content) - 1}/{len(site.content)}")
        self.end_headers()
        if site.cuts:
            site.cuts -= 1
            body = body[: site.cut]
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        """Tests read stderr."""


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setattr(module, "PAUSE", 0.001)
    monkeypatch.setenv("no_proxy", "*")
    with Site() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def refusal(remote: Remote, folder: Path) -> str:
    with pytest.raises(HashzooError) as caught:
        download(remote, folder, otherwise=OTHERWISE)
    assert not (folder / "set.zip").exists()
    assert OTHERWISE in str(caught.value)
    assert caught.value.exit_code == 1
    return str(caught.value)


@pytest.mark.parametrize(
    "known",
    [
        {"sha256": SHA256},
        {"md5": hashlib.md5(CONTENT).hexdigest().upper()},
        {"sha256": SHA256, "size": len(CONTENT)},
    ],
)
def test_a_file_is_fetched_once(known, site, tmp_path):
    for _ in range(2):
        assert download(site.remote(**known), tmp_path, otherwise=OTHERWISE).read_bytes() == CONTENT
    assert site.asked == [None]


def test_a_cut_connection_is_resumed_where_it_broke(site, tmp_path):
    site.cut, site.cuts = 100_000, 2
    assert download(site.remote(), tmp_path, otherwise=OTHERWISE).read_bytes() == CONTENT
    assert site.asked == [None, "bytes=100000-", "bytes=200000-"]


def test_a_killed_download_is_resumed_by_the_next(site, tmp_path):
    (tmp_path / ".set.zip.part").write_bytes(CONTENT[:5000])
    assert download(site.remote(), tmp_path, otherwise=OTHERWISE).read_bytes() == CONTENT
    assert site.asked == ["bytes=5000-"]


@pytest.mark.parametrize("known", [{"sha256": SHA256}, {"sha256": SHA256, "size": len(CONTENT)}])
def test_one_that_was_killed_before_its_last_step_too(known, site, tmp_path):
    (tmp_path / ".set.zip.part").write_bytes(CONTENT)
    assert download(site.remote(**known), tmp_path, otherwise=OTHERWISE).read_bytes() == CONTENT
    assert None not in site.asked


@pytest.mark.parametrize("part", [b"wrong" * 100, CONTENT + b"too long", bytes(len(CONTENT))])
def test_a_wrong_part_is_thrown_away(part, site, tmp_path):
    (tmp_path / ".set.zip.part").write_bytes(part)
    assert download(site.remote(), tmp_path, otherwise=OTHERWISE).read_bytes() == CONTENT
    assert site.asked[-1] is None


def test_a_site_without_ranges_starts_anew(site, tmp_path):
    site.ranges, site.cut, site.cuts = False, 100_000, 1
    assert download(site.remote(), tmp_path, otherwise=OTHERWISE).read_bytes() == CONTENT
    assert site.asked == [None, "bytes=100000-"]


def test_another_range_than_asked_for_is_no_continuation(site, tmp_path):
    site.shift = 7
    (tmp_path / ".set.zip.part").write_bytes(CONTENT[:5000])
    assert download(site.remote(), tmp_path, otherwise=OTHERWISE).read_bytes() == CONTENT
    assert site.asked == ["bytes=5000-", None]


@pytest.mark.parametrize("content", [b"<html>moved</html>", CONTENT[:-1] + b"?", CONTENT + b"?", CONTENT * 3])
def test_another_file_is_refused_and_removed(content, site, tmp_path):
    site.content = content
    assert "is not the file that hashzoo knows (its checksum differs)" in refusal(site.remote(), tmp_path)
    assert {path.name for path in tmp_path.iterdir()} <= {".set.zip.lock"}
    site.content = CONTENT
    download(site.remote(), tmp_path, otherwise=OTHERWISE)


@pytest.mark.parametrize("status", [403, 404, 410])
def test_a_file_that_is_gone_is_refused_at_once(status, site, tmp_path):
    site.status = [status]
    assert f"set.zip cannot be downloaded ({status} " in refusal(site.remote(), tmp_path)
    assert len(site.asked) == 1


def test_passing_faults_are_tried_again(site, tmp_path):
    site.status = [503, 429, 500]
    assert download(site.remote(), tmp_path, otherwise=OTHERWISE).read_bytes() == CONTENT
    site.status = [503] * module.ATTEMPTS
    (tmp_path / "set.zip").unlink()
    assert "(503 Service Unavailable): run again to resume" in refusal(site.remote(), tmp_path)
    assert not site.status


def test_a_site_that_does_not_answer_keeps_the_part(site, tmp_path):
    (tmp_path / ".set.zip.part").write_bytes(CONTENT[:5000])
    remote = Remote("http://127.0.0.1:1/set.zip", sha256=SHA256, size=len(CONTENT))
    assert "could not be downloaded" in refusal(remote, tmp_path)
    assert (tmp_path / ".set.zip.part").read_bytes() == CONTENT[:5000]


def test_a_full_disk_is_said_before(site, tmp_path):
    with pytest.raises(HashzooError, match="more than are free on the disk"):
        download(site.remote(sha256=SHA256, size=2**60), tmp_path, otherwise=OTHERWISE)
    assert not site.asked


def test_only_pinned_http_files_are_fetched(tmp_path):
    for remote in (Remote("file:///etc/passwd", sha256=SHA256), Remote("https://example.org/set.zip")):
        with pytest.raises(ValueError, match="must be an HTTP address with a checksum"):
            download(remote, tmp_path, otherwise=OTHERWISE)
