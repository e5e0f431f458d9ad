"""Files at an address of any file system; each fault is one sentence. What S3 itself says is in test_s3.py."""

from __future__ import annotations

import errno
import sys

import pytest

from hashzoo.storage.files import StorageError
from hashzoo.storage.remote import Remote, is_address

fsspec = pytest.importorskip("fsspec", reason="pip install 'hashzoo[remote]'")


@pytest.fixture(params=["memory", "file"])
def remote(request, tmp_path):
    fsspec.filesystem("memory").store.clear()
    yield Remote(f"{request.param}://{'/lab' if request.param == 'memory' else tmp_path / 'lab'}/deep/")
    fsspec.filesystem("memory").store.clear()


def test_what_an_address_is():
    assert is_address("s3://bucket/prefix")
    assert not any(map(is_address, ("runs", "/tmp/runs", "C:/runs", "a:b")))


def test_files_there_and_back(remote, tmp_path):
    assert remote.list() == {}
    assert not remote.has("a/b/one")
    (tmp_path / "one").write_bytes(b"1")
    (tmp_path / "two").write_bytes(b"22")
    remote.put({"a/b/one": tmp_path / "one", "two": tmp_path / "one"})
    remote.put({"two": tmp_path / "two"})
    assert {name: about.size for name, about in remote.list().items()} == {"a/b/one": 1, "two": 2}
    now = (tmp_path / "one").stat().st_mtime
    assert all(abs(about.modified - now) < 60 for about in remote.list().values())
    assert list(remote.list("a")) == ["a/b/one"]
    assert remote.list("nothing") == {}
    (tmp_path / "back").mkdir()
    remote.get({"two": tmp_path / "back" / "two", "a/b/one": tmp_path / "back" / "one"})
    assert [(tmp_path / "back" / name).read_bytes() for name in ("one", "two")] == [b"1", b"22"]
    remote.remove("a/b/one")
    assert list(remote.list()) == ["two"]


def test_what_is_absent_is_one_sentence(remote, tmp_path):
    with pytest.raises(
        StorageError, match=r"lacks a file that was there a moment ago \(.*run the same command"
    ) as told:
        remote.get({"absent": tmp_path / "absent"})
    assert told.value.exit_code == 1
    assert not remote.has("absent")


@pytest.mark.parametrize(
    ("fault", "said", "code"),
    [
        (PermissionError("Access Denied"), "may not be written to .Access Denied.; check the credentials", 2),
        (TimeoutError(), r"cannot be written to .TimeoutError: .; check network and endpoint, and run again", 1),
        (OSError(errno.ENOSPC, "full", "/disk/file"), "the disk that holds /disk is full", 1),
        (ValueError("of\ntwo lines"), "ValueError: of two lines", 1),
    ],
)
def test_faults_are_one_sentence(fault, said, code, monkeypatch, tmp_path):
    remote = Remote("memory://lab")

    def put(*_):
        raise fault

    monkeypatch.setattr(remote._files, "put", put, raising=False)
    with pytest.raises(StorageError, match=said) as told:
        remote.put({"a": tmp_path})
    assert told.value.exit_code == code
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("address", ["s3://", "memory:///", "nowhere://a/b"])
def test_what_cannot_be_opened(address):
    with pytest.raises(StorageError, match="give one such as s3://bucket/prefix"):
        Remote(address)


def test_a_package_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "s3fs", None)
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(StorageError, match=r"not installed; run: pip install 'hashzoo\[remote\]'"):
        Remote("s3://lab/runs")
    with pytest.raises(StorageError, match="not installed; Please install gcsfs"):
        Remote("gs://lab/runs")
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    with pytest.raises(StorageError, match=r"needs fsspec, which is not installed; run: pip install"):
        Remote("s3://lab/runs")
