"""Files are whole or absent, whatever the disk does; JSON is canonical."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from hashzoo.errors import HashzooError
from hashzoo.storage import files
from hashzoo.storage.files import StorageError, atomic_write, cache_dir, canonical_json, digest, read_json, write_json


def failing(code: int):
    def fail(*arguments: object, **options: object):
        raise OSError(code, os.strerror(code))

    return fail


def write_half(path: Path, error: BaseException) -> None:
    with atomic_write(path) as file:
        file.write(b"half")
        raise error


def test_the_cache_folder(monkeypatch):
    monkeypatch.setenv("HASHZOO_CACHE", "~/elsewhere")
    assert cache_dir() == Path.home() / "elsewhere"
    monkeypatch.delenv("HASHZOO_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert cache_dir() == Path("/xdg/hashzoo")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_dir() == Path.home() / ".cache" / "hashzoo"


def test_equal_values_have_equal_text_and_digest():
    assert canonical_json({"b": 1, "a": (1, 2.5, "é")}) == '{"a":[1,2.5,"\\u00e9"],"b":1}'
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    assert digest({"a": 1}) != digest({"a": 2})
    assert digest(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json(float("nan"))


def test_json_comes_back_with_its_keys_in_order(tmp_path):
    path = tmp_path / "deep" / "er" / "a.json"
    write_json(path, {"b": "é", "a": [1, None]})
    assert path.read_text(encoding="utf-8") == '{\n  "b": "é",\n  "a": [\n    1,\n    null\n  ]\n}\n'
    assert list(read_json(path)) == ["b", "a"]
    assert list(path.parent.iterdir()) == [path]


def test_a_file_has_the_permissions_of_any_new_file(tmp_path):
    plain = tmp_path / "plain"
    plain.write_text("")
    write_json(tmp_path / "a.json", 1)
    assert (tmp_path / "a.json").stat().st_mode == plain.stat().st_mode


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe\x00"])
def test_what_is_not_json_is_an_error_that_names_the_file(content, tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(HashzooError, match=r"a\.json cannot be read as JSON .*delete it and run again") as refused:
        read_json(path)
    assert refused.value.exit_code == 1
    with pytest.raises(HashzooError, match=r"absent\.json cannot be read"):
        read_json(tmp_path / "absent.json")


def test_a_failed_block_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, 1)
    for error in (RuntimeError, KeyboardInterrupt):
        with pytest.raises(error):
            write_half(path, error())
    assert read_json(path) == 1
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize(
    ("code", "said", "exit_code"),
    [
        (errno.ENOSPC, "is full; free some space and run again", 1),
        (errno.EACCES, "cannot be written to; choose another folder or change its permissions", 2),
        (errno.EROFS, "cannot be written to; choose another folder or change its permissions", 2),
        (errno.EISDIR, "a.json cannot be written (Is a directory); give a path where nothing else lies", 2),
        (errno.EIO, "a.json cannot be written (Input/output error)", 1),
    ],
)
def test_a_disk_that_refuses(call, code, said, exit_code, tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    write_json(path, "old")
    with monkeypatch.context() as patch:
        patch.setattr(files.os, call, failing(code))
        with pytest.raises(StorageError) as refused:
            write_json(path, "new")
    assert said in str(refused.value)
    assert refused.value.exit_code == exit_code
    assert read_json(path) == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_disk_that_is_full_in_the_middle_of_a_write(tmp_path):
    path = tmp_path / "a.bin"
    with pytest.raises(StorageError, match="is full"):
        write_half(path, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_made(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"file/a\.json cannot be written"):
        write_json(tmp_path / "file" / "a.json", 1)
    monkeypatch.setattr(files.tempfile, "mkstemp", failing(errno.EROFS))
    with pytest.raises(StorageError, match="cannot be written to"):
        write_json(tmp_path / "a.json", 1)
