"""A damaged collection is one clear error, and never a wrong answer."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil

import numpy as np
import pytest

import hashzoo.search
from hashzoo.codes import pack
from hashzoo.errors import HashzooError
from hashzoo.search import Collection, manifest, tables
from hashzoo.storage.files import digest

QUERY = np.random.default_rng(1).standard_normal((2, 16))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "c"
    values = np.random.default_rng(0).standard_normal((30, 16))
    collection = Collection.create(path, 16, outputs=True, model={"run.json": b'{"bits": 16}'})
    for rows in (slice(0, 20), slice(20, 30)):
        names = [f"n{row}" for row in range(30)][rows]
        collection.append(pack(values[rows]), metadata={"name": names}, outputs=values[rows])
    collection.delete([4, 5])
    return path


@pytest.fixture
def path(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "c")


def answers(path):
    """Everything that is in a collection takes part in one of these answers."""
    collection = hashzoo.search.open(path)
    answer = collection.query(QUERY, k=30, rerank=30, where="name != 'n9'")
    return answer.ids.tolist(), str(answer.scores.tolist()), answer.metadata().to_csv()


def files(path):
    return sorted(p.relative_to(path) for p in path.rglob("*") if p.is_file() and p.name != ".lock")


def outcome(call):
    """What a call gives back, or the sentence with which it fails."""
    try:
        return call()
    except HashzooError as error:
        return str(error)


def test_a_file_cut_off_at_any_byte_is_found_when_the_collection_is_opened(path):
    for file in files(path):
        content = (path / file).read_bytes()
        lengths = len(content.rstrip()) if file.parts[0] != "model" else 0
        for length in range(0, lengths, 1 + lengths // 100):
            os.truncate(path / file, length)
            with pytest.raises(
                HashzooError, match=r"is damaged \(.*\); put back a copy of it, or encode again"
            ) as caught:
                hashzoo.search.open(path)
            assert caught.value.exit_code == 1
            assert file.name in str(caught.value)
            (path / file).write_bytes(content)
    hashzoo.search.open(path).verify()


def test_a_changed_byte_is_found_before_it_changes_an_answer(path):
    rng, before = np.random.default_rng(2), answers(path)
    for file in files(path):
        content = (path / file).read_bytes()
        for place in rng.integers(0, len(content), 25):
            changed = bytearray(content)
            changed[place] ^= 1 << int(rng.integers(0, 8))
            (path / file).write_bytes(changed)
            if file.parts[0] == "model":
                with pytest.raises(HashzooError, match="model/run.json does not match its digest"):
                    hashzoo.search.open(path).model()
            elif (found := outcome(lambda: answers(path))) == before:
                assert file.name == "manifest.json"  # its blanks say nothing
            else:
                assert file.name in found or "has format" in found
        (path / file).write_bytes(content)
    assert answers(path) == before


def test_whatever_is_damaged_verify_finds_it(path):
    for file in files(path):
        content = (path / file).read_bytes()
        (path / file).write_bytes(bytes([content[0] ^ 1]) + content[1:])
        with pytest.raises(HashzooError, match="is damaged"):
            hashzoo.search.open(path).verify()
        (path / file).unlink()
        with pytest.raises(HashzooError, match="is damaged|no collection in"):
            hashzoo.search.open(path).verify()
        (path / file).write_bytes(content)


def test_damage_is_not_copied_into_new_segments(path):
    (codes,) = list(path.glob("segments/*1-0/codes.npy"))
    content = bytearray(codes.read_bytes())
    content[-1] ^= 1
    codes.write_bytes(content)
    writer = hashzoo.search.open(path)
    with pytest.raises(HashzooError, match="codes.npy does not match its digest"):
        writer.compact()
    content[-1] ^= 1
    codes.write_bytes(content)
    hashzoo.search.open(path).compact()


def test_a_manifest_may_name_the_types_that_columns_can_have():
    assert set(manifest.TYPES) == set(tables._types())


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"format": 2}, "has format 2, this hashzoo reads 1; encode again"),
        ({"bits": 17}, "codes.npy is no array of"),
        ({"columns": {"text": "TEXT"}}, "columns.text is text, not 'BOOLEAN' or 'BIGINT' or"),
        ({"model": {"../x": {"bytes": 1, "sha256": ""}}}, "names files outside of the collection"),
    ],
)
def test_manifests_that_fit_their_digest_and_nothing_else(change, sentence, path):
    stored = json.loads((path / "manifest.json").read_text()) | change
    del stored["digest"]
    (path / "manifest.json").write_text(json.dumps(stored | {"digest": digest(stored)}))
    with pytest.raises(HashzooError, match=sentence):
        hashzoo.search.open(path)


@pytest.mark.parametrize("file", ["codes.npy", "ids.npy", "outputs.npy", "metadata.parquet"])
def test_a_manifest_lists_every_file_of_a_segment_that_is_read(file, path):
    stored = json.loads((path / "manifest.json").read_text())
    del stored["digest"], stored["segments"][0]["files"][file]
    (path / "manifest.json").write_text(json.dumps(stored | {"digest": digest(stored)}))
    with pytest.raises(HashzooError, match=f"is damaged .*lists no {file} of segment"):
        hashzoo.search.open(path)


def test_codes_have_no_bits_beyond_those_that_the_manifest_names(path):
    stored = json.loads((path / "manifest.json").read_text()) | {"bits": 9, "outputs": False}
    del stored["digest"]
    (path / "manifest.json").write_text(json.dumps(stored | {"digest": digest(stored)}))
    collection = hashzoo.search.open(path)
    for ask in (lambda: collection.query(QUERY[:, :9], k=3), lambda: collection.codes([1])):
        with pytest.raises(HashzooError, match=r"is damaged .*codes.npy holds codes of more than 9 bits"):
            ask()


@pytest.mark.parametrize(
    "rows", [b"", np.array([0.5, 1]), np.array([4, 20]), np.array([-1, 4]), np.array([5, 4]), np.array([4])]
)
def test_deleted_rows_that_fit_their_digest_and_no_segment(rows, path):
    (file,) = path.glob("deleted/*")
    if isinstance(rows, bytes):
        file.write_bytes(rows)
    else:
        np.save(file, rows)
    stored = json.loads((path / "manifest.json").read_text())
    del stored["digest"]
    content = file.read_bytes()
    about = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    stored["segments"][0]["deleted"]["file"] |= about
    (path / "manifest.json").write_text(json.dumps(stored | {"digest": digest(stored)}))
    with pytest.raises(HashzooError, match=r"is damaged \(deleted/"):
        hashzoo.search.open(path)


def test_a_full_disk_changes_nothing(path, monkeypatch):
    collection = hashzoo.search.open(path)
    before, kept = files(path), answers(path)
    plain = os.fsync
    for number in range(1, 30):
        left = [number]

        def fail(descriptor, left=left):
            left[0] -= 1
            if not left[0]:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            plain(descriptor)

        monkeypatch.setattr(os, "fsync", fail)
        found = outcome(lambda: collection.append(pack(QUERY), metadata={"name": ["a", "b"]}, outputs=QUERY).tolist())
        monkeypatch.setattr(os, "fsync", plain)
        if found == [30, 31]:
            break
        assert "is full; free some space" in found
        if len(hashzoo.search.open(path)) > 28:  # the last folder could not be flushed: it is there, and may not last
            break
        assert files(path) == before
        assert answers(path) == kept
    assert number > 6
    collection.delete([0])
    assert len(hashzoo.search.open(path)) == 29


def test_too_many_open_files_are_not_called_damage(path, monkeypatch):
    def fail(*arguments, **options):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr("mmap.mmap", fail)
    with pytest.raises(HashzooError, match="cannot be read .Too many open files"):
        hashzoo.search.open(path)
