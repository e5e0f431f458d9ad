"""Runs and features in a bucket: a real S3 server in a thread of this process, and machines that share nothing else."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from helpers import SMALL

import hashzoo
from hashzoo import doctor
from hashzoo.benches.benchmark import bench
from hashzoo.storage import shared
from hashzoo.storage.files import StorageError
from hashzoo.storage.remote import Remote

s3fs = pytest.importorskip("s3fs", reason="pip install 'hashzoo[remote]'")
server = pytest.importorskip("moto.server", reason="pip install 'moto[s3]' flask flask-cors")
import fsspec  # noqa: E402 - it is there where s3fs is

LIMIT = 150  # seconds for a command in a process of its own
ASKED = {"dataset": "scenes", "encoders": "tiny+bow", "settings": SMALL}
# What a request may take, and no second try: a test fails and never hangs.
IMPATIENT = {"config_kwargs": {"connect_timeout": 2, "read_timeout": 20, "retries": {"max_attempts": 0}}}


@pytest.fixture(scope="module")
def running():
    one = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    one.start()
    yield one.get_host_and_port()[1]
    one.stop()


@pytest.fixture
def point_at(monkeypatch):
    """Point s3:// at a port of this machine, with credentials of nobody."""

    def point(port: int, known: bool = True) -> None:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            monkeypatch.delenv(name)
        variables = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"} if known else {}
        variables |= {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", "AWS_DEFAULT_REGION": "us-east-1"}
        variables |= {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull}
        variables |= {"AWS_EC2_METADATA_DISABLED": "true"}
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        s3fs.S3FileSystem.clear_instance_cache()

    monkeypatch.setitem(fsspec.config.conf, "s3", IMPATIENT)
    monkeypatch.setattr(s3fs.S3FileSystem, "retries", 1)
    monkeypatch.setattr(shared, "_silent", set())
    monkeypatch.setattr(shared, "_there", set())
    shared._open.cache_clear()
    yield point
    shared._open.cache_clear()
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture
def bucket(running, point_at):
    """An empty bucket, by its address."""
    point_at(running)
    files = fsspec.filesystem("s3")
    with contextlib.suppress(FileNotFoundError):
        files.rm("lab", recursive=True)
    files.mkdir("lab")
    return "s3://lab"


def at(address):
    return set(Remote(address).list())


@pytest.mark.timeout(300)
def test_two_machines_and_a_third_that_only_reports(bucket, tiny, tmp_path, monkeypatch, command):
    monkeypatch.setenv("HASHZOO_FEATURES", f"{bucket}/features")
    runs = f"{bucket}/deep/runs"
    results = []
    for number in (1, 2):
        monkeypatch.setenv("HASHZOO_CACHE", str(tmp_path / f"machine {number}"))
        how = {"runner": "processes", "jobs": 1} if number == 1 else {"runner": "local"}
        results += bench(["toy"], [8, 16], **ASKED, runs=runs, shard=f"{number}/2", **how)["results"]
    assert not any(result["reused"] for result in results)
    files = at(runs)
    assert len([name for name in files if name.endswith("/result.json")]) == 4
    assert not [name for name in files if ".part" in name or ".lock" in name]
    tables = []
    for number in (1, 2, 3):
        monkeypatch.setenv("HASHZOO_CACHE", str(tmp_path / f"machine {number}"))
        tables.append(command("report", "--runs", runs, "--md").out)
    assert tables[0] == tables[1] == tables[2]
    whole = bench(["toy"], [8, 16], **ASKED, runs=runs)
    assert all(result["reused"] for result in whole["results"])
    assert at(runs) == files
    key = sorted(name for name in at(f"{bucket}/features") if name.endswith(".npy"))
    assert key
    assert at(f"{bucket}/features") == {name.replace(".npy", end) for name in key for end in (".npy", ".json")}


def test_no_bucket_no_network_no_credentials_no_permission(bucket, running, point_at, tiny, sentence):
    asked = ("bench", "--method", "toy", "--dataset", "scenes", "--encoders", "tiny+bow", "--bits", "8", *SET)
    said = sentence(*asked, "--runs", "s3://nobody-has-it/runs")
    assert "s3://nobody-has-it/runs cannot be listed (The specified bucket does not exist); make the bucket" in said
    assert "holds no finished run" in sentence("report", "s3://lab/runs")
    point_at(running, known=False)
    assert "may not be listed (Unable to locate credentials); check the cred" in sentence("report", "s3://lab/runs")
    with nobody_listening() as port:
        point_at(port)
        assert "check network and endpoint, and run again" in sentence(*asked, "--runs", "s3://lab/runs", code=1)
    with forbidding() as port:
        point_at(port)
        said = sentence(*asked, "--runs", "s3://lab/runs")
        assert "s3://lab/runs may not be listed (Access Denied); check the credentials" in said
    assert not Path("runs").exists()


def test_features_are_computed_where_the_address_does_not_answer(point_at, tiny, monkeypatch, capsys, command):
    monkeypatch.setenv("HASHZOO_FEATURES", "s3://lab/features")
    with nobody_listening() as port:
        point_at(port)
        assert bench(["toy"], [8], **ASKED)["results"][0]["status"] == "ok"
        said = capsys.readouterr().err
        assert said.count("hashzoo: s3://lab/features cannot be read (EndpointConnectionError") == 1
        assert said.count("features are not shared") == 1
        (found,) = doctor._features()
    assert (found.level, found.subject) == ("problem", "HASHZOO_FEATURES")
    assert "s3://lab/features cannot be listed" in found.message
    assert found.message.endswith("or run: unset HASHZOO_FEATURES, and features are computed here")


def test_doctor_says_that_the_address_of_features_answers(bucket, monkeypatch):
    assert doctor._features() == []
    monkeypatch.setenv("HASHZOO_FEATURES", f"{bucket}/features")
    assert doctor._features() == [doctor.Finding("ok", "HASHZOO_FEATURES", "s3://lab/features")]
    monkeypatch.setenv("HASHZOO_FEATURES", "/shared/features")
    assert "is an address such as s3://bucket/features, not '/shared/features'" in doctor._features()[0].message


def test_a_bucket_that_is_gone_before_the_push_is_not_made_again(bucket, tmp_path):
    store = Remote(f"{bucket}/runs")
    fsspec.filesystem("s3").rmdir("lab")
    (tmp_path / "file").write_text("content")
    with pytest.raises(StorageError, match=r"cannot be written to \(The specified bucket does not exist\)"):
        store.put({"a/file": tmp_path / "file"})


@pytest.mark.slow
@pytest.mark.timeout(LIMIT + 60)
def test_the_tasks_of_a_ray_cluster_push_what_they_made(bucket, tiny, tmp_path):
    pytest.importorskip("ray", reason="pip install 'hashzoo[ray]'")
    bench(["random"], [8], **ASKED)  # features are in the cache: that a cluster computes them is no matter of a bucket
    asked = [*SET, "--runs", f"{bucket}/runs", "--runner", "ray", "--jobs", "1", "--json"]
    told = started(
        tiny, ["bench", "--method", "toy", "--dataset", "scenes", "--encoders", "tiny+bow", "--bits", "8", *asked]
    )
    assert [(result["status"], result["reused"]) for result in told["results"]] == [("ok", False)] * 2
    assert all(Path(result["run"], "codes.npz").exists() for result in told["results"])
    names = {"/".join(Path(result["run"]).parts[-3:]) for result in told["results"]}
    assert {name.rpartition("/")[0] for name in at(f"{bucket}/runs") if name.endswith("result.json")} == names


SET = [word for text in SMALL for word in ("--set", text)]


def started(site, words):
    """The JSON that hashzoo prints in a process of its own, which has a time limit, with all that it starts."""
    path = os.pathsep.join([str(site.folder), str(Path(hashzoo.__file__).parents[1])])
    environment = os.environ | {"PYTHONPATH": path, "RAY_USAGE_STATS_ENABLED": "0"}
    code = "from hashzoo.cli import main; main()"
    with open("out.txt", "w") as out, open("err.txt", "w") as err:
        process = subprocess.Popen(
            [sys.executable, "-c", code, *words], env=environment, stdout=out, stderr=err, start_new_session=True
        )
        try:
            ended = process.wait(LIMIT)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    assert ended == 0, Path("err.txt").read_text()[-4000:]
    return json.loads(Path("out.txt").read_text())


@contextlib.contextmanager
def nobody_listening():
    """A port that nobody listens at, and nobody will."""
    with contextlib.closing(socket.socket()) as nobody:
        nobody.bind(("127.0.0.1", 0))
        yield nobody.getsockname()[1]


@contextlib.contextmanager
def forbidding():
    """A server that refuses everything, as S3 does; its port."""

    class Refuses(BaseHTTPRequestHandler):
        def do_GET(self):
            said = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
            self.send_response(403)
            self.send_header("Content-Type", "application/xml")
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        do_PUT = do_POST = do_HEAD = do_GET

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Refuses) as one:
        thread = threading.Thread(target=one.serve_forever, daemon=True)
        thread.start()
        yield one.server_address[1]
        one.shutdown()
