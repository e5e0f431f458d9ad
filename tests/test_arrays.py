"""Large arrays on disk: digests that are remembered, rows that are taken, files that are whole."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest

from hashzoo.storage import arrays
from hashzoo.storage.arrays import array_sha256, cached_array, file_sha256, take, write_array
from hashzoo.storage.files import StorageError, cache_dir

VALUES = np.arange(60, dtype=np.float32).reshape(20, 3)


def made(ranges):
    for rows in ranges:
        yield rows, VALUES[rows.start : rows.stop]


def test_a_digest_is_computed_once_for_each_state_of_a_file(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_bytes(b"one")
    assert file_sha256(path) == hashlib.sha256(b"one").hexdigest()
    with monkeypatch.context() as patch:
        patch.setattr(arrays.hashlib, "file_digest", lambda *arguments: 1 / 0)
        assert file_sha256(path) == hashlib.sha256(b"one").hexdigest()
    path.write_bytes(b"two")
    os.utime(path, (1, 1))
    assert file_sha256(path) == hashlib.sha256(b"two").hexdigest()
    (note,) = (cache_dir() / "digests").iterdir()
    note.write_text("[]")
    assert file_sha256(path) == hashlib.sha256(b"two").hexdigest()


def test_a_digest_that_cannot_be_remembered_is_a_digest_all_the_same(tmp_path, monkeypatch):
    monkeypatch.setenv("HASHZOO_CACHE", str(tmp_path / "file" / "below"))
    (tmp_path / "file").write_bytes(b"one")
    assert file_sha256(tmp_path / "file") == hashlib.sha256(b"one").hexdigest()


def test_the_digest_of_an_array_tells_content_type_and_shape(tmp_path, monkeypatch):
    monkeypatch.setattr(arrays, "ROWS_AT_ONCE", 1)
    variants = [VALUES, VALUES[::-1], VALUES.reshape(10, 6), VALUES.view(np.int32)]
    assert len({array_sha256(array) for array in variants}) == 4
    assert array_sha256(VALUES.copy()) == array_sha256(VALUES)
    write_array(tmp_path / "a.npy", VALUES)
    mapped = np.load(tmp_path / "a.npy", mmap_mode="r")
    assert array_sha256(mapped) == array_sha256(np.load(tmp_path / "a.npy", mmap_mode="r"))
    assert array_sha256(mapped[1:]) == array_sha256(VALUES[1:])  # a part of a file is not the file


def test_rows_of_a_mapped_array_are_what_indexing_gives(tmp_path, monkeypatch):
    write_array(tmp_path / "a.npy", VALUES)
    monkeypatch.setattr(arrays, "LARGE", 0)
    monkeypatch.setattr(arrays, "ROWS_AT_ONCE", 3)
    rows = np.array([19, 0, 7, 7, 3, 1, 18])
    for array in (VALUES, np.load(tmp_path / "a.npy", mmap_mode="r")):
        np.testing.assert_array_equal(take(array, rows), VALUES[rows])
        assert take(array, rows[:0]).shape == (0, 3)
        with pytest.raises(IndexError):
            take(array, np.array([20]))


def test_what_is_made_is_a_plain_array_file(capsys):
    found = cached_array({"rows": 20}, 6, made, "numbers", "rows")
    np.testing.assert_array_equal(found, VALUES)
    np.testing.assert_array_equal(np.load(found.filename, allow_pickle=False), VALUES)
    assert not found.flags.writeable
    said = capsys.readouterr().err
    assert "numbers: 20 rows in" in said
    assert "going on" not in said


def test_another_size_of_blocks_goes_on_where_the_first_ended():
    def ends(ranges):
        yield from made(ranges[:2])
        raise KeyboardInterrupt

    asked = []

    def rest(ranges):
        asked.extend(ranges)
        yield from made(ranges)

    with pytest.raises(KeyboardInterrupt):
        cached_array({"rows": 20}, 5, ends, "numbers", "rows")
    np.testing.assert_array_equal(cached_array({"rows": 20}, 4, rest, "numbers", "rows"), VALUES)
    assert asked == [range(8, 12), range(12, 16), range(16, 20)]


@pytest.mark.parametrize("damage", ["rows", "journal", "part", "empty", "header"])
def test_an_unfinished_file_that_makes_no_sense_is_begun_anew(damage):
    def ends(ranges):
        yield from made(ranges[:2])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cached_array({"rows": 20}, 5, ends, "numbers", "rows")
    (part,) = (cache_dir() / "features").glob("*.part")
    if damage == "rows":
        np.save(part.with_suffix(".npy"), VALUES[:3])
        part.with_suffix(".npy").rename(part)
    elif damage == "journal":
        part.with_suffix(".journal").write_text("no json\n")
    elif damage == "empty":  # of a process that was killed after it had made the file
        os.truncate(part, 0)
    elif damage == "header":
        part.write_bytes(part.read_bytes().replace(b"{", b"(", 1))
    else:
        part.unlink()
    np.testing.assert_array_equal(cached_array({"rows": 20}, 5, made, "numbers", "rows"), VALUES)


def test_a_line_that_was_cut_off_costs_no_other_line_however_often():
    asked = []

    def ends(ranges):
        asked.append(len(ranges))
        yield from made(ranges[:1])
        raise KeyboardInterrupt

    for _ in range(4):
        with pytest.raises(KeyboardInterrupt):
            cached_array({"rows": 20}, 4, ends, "numbers", "rows")
        (journal,) = (cache_dir() / "features").glob("*.journal")
        with open(journal, "a") as file:
            file.write('{"start": 11')
    assert asked == [5, 4, 3, 2]
    np.testing.assert_array_equal(cached_array({"rows": 20}, 4, made, "numbers", "rows"), VALUES)


def test_a_kill_while_the_digest_of_all_is_taken_costs_nothing(monkeypatch):
    def killed(path):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(arrays, "file_sha256", killed)
        with pytest.raises(KeyboardInterrupt):
            cached_array({"rows": 20}, 5, made, "numbers", "rows")
    nothing = lambda ranges: made(ranges) if not ranges else 1 / 0  # noqa: E731
    np.testing.assert_array_equal(cached_array({"rows": 20}, 5, nothing, "numbers", "rows"), VALUES)
    names = sorted(path.suffix for path in (cache_dir() / "features").iterdir())
    assert names == [".json", ".npy"]


def test_a_disk_that_refuses_says_so_and_keeps_what_is_there(monkeypatch):
    real = os.replace

    def refuse(source, target):
        if Path(target).suffix == ".npy":
            raise OSError(28, "No space left on device")
        real(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(arrays.os, "replace", refuse)
        with pytest.raises(StorageError, match="is full"):
            cached_array({"rows": 20}, 5, made, "numbers", "rows")
    assert list((cache_dir() / "features").glob("*.npy")) == []
    nothing = lambda ranges: made(ranges) if not ranges else 1 / 0  # noqa: E731
    np.testing.assert_array_equal(cached_array({"rows": 20}, 5, nothing, "numbers", "rows"), VALUES)
