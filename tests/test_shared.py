"""Features that machines share: computed by one of them, whole or absent, and never in the way."""

from __future__ import annotations

import json

import numpy as np
import pytest

from hashzoo.errors import HashzooError
from hashzoo.storage import shared
from hashzoo.storage.arrays import cached_array
from hashzoo.storage.files import StorageError, digest
from hashzoo.storage.remote import Remote

fsspec = pytest.importorskip("fsspec", reason="pip install 'hashzoo[remote]'")
PREIMAGE = {"kind": "features", "encoder": {"name": "toy"}, "rows": 5}
KEY = digest(PREIMAGE)[:24]
VALUES = np.arange(10, dtype=np.float32).reshape(5, 2)


@pytest.fixture(autouse=True)
def memory(monkeypatch, memory_files):
    """What is at the address, by name; a process that has asked it nothing yet."""
    monkeypatch.setenv(shared.VARIABLE, "memory://lab/features")
    monkeypatch.setattr(shared, "_silent", set())
    monkeypatch.setattr(shared, "_there", set())
    return memory_files


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Call it: the array on a machine of a name, and which rows it had to compute."""

    def on(name: str, preimage: dict | None = None) -> list[int]:
        monkeypatch.setenv("HASHZOO_CACHE", str(tmp_path / name))
        monkeypatch.setattr(shared, "_there", set())
        computed: list[int] = []

        def make(ranges):
            for rows in ranges:
                computed.extend(rows)
                yield rows, VALUES[rows.start : rows.stop]

        found = cached_array(preimage or PREIMAGE, 2, make, "features", "rows")
        assert isinstance(found, np.memmap)
        np.testing.assert_array_equal(found, VALUES)
        return computed

    return on


def there(memory):
    return sorted(name.removeprefix("/lab/features/") for name in memory)


def test_one_machine_computes_and_the_others_take(memory, machine, tmp_path, capsys):
    assert machine("first") == [0, 1, 2, 3, 4]
    assert there(memory) == [f"{KEY}.json", f"{KEY}.npy"]
    assert machine("second") == []
    assert "fetching features from memory://lab/features" in capsys.readouterr().err
    caches = [tmp_path / name / "features" for name in ("first", "second")]
    for name in (f"{KEY}.npy", f"{KEY}.json"):
        assert (caches[0] / name).read_bytes() == (caches[1] / name).read_bytes()
    assert len(list(caches[1].iterdir())) == 2
    assert machine("second") == machine("first") == []


def test_what_was_there_before_the_address_is_shared_too(memory, machine, monkeypatch):
    monkeypatch.delenv(shared.VARIABLE)
    machine("first")
    assert not memory
    monkeypatch.setenv(shared.VARIABLE, "memory://lab/features")
    assert machine("first") == []
    assert machine("second") == []


@pytest.mark.parametrize("ended_at", [".npy", ".json"])
def test_a_push_that_is_ended_leaves_no_entry(ended_at, memory, machine, monkeypatch):
    put = Remote.put

    def ended(self, files):
        if next(iter(files)).endswith(ended_at):
            raise KeyboardInterrupt
        put(self, files)

    monkeypatch.setattr(Remote, "put", ended)
    with pytest.raises(KeyboardInterrupt):
        machine("first")
    assert f"{KEY}.json" not in there(memory)
    monkeypatch.setattr(Remote, "put", put)
    assert machine("second") == [0, 1, 2, 3, 4]
    assert machine("third") == []


@pytest.mark.parametrize(
    ("name", "content"),
    [("npy", b"cut off"), ("json", b"{}"), ("json", b"no JSON"), ("json", b'{"preimage": {}, "sha256": ""}')],
)
def test_a_damaged_entry_is_told_and_made_again(name, content, memory, machine, capsys):
    machine("first")
    fsspec.filesystem("memory").pipe_file(f"/lab/features/{KEY}.{name}", content)
    assert machine("second") == [0, 1, 2, 3, 4]
    assert f"hashzoo: memory://lab/features/{KEY}.npy is damaged; computing it again" in capsys.readouterr().err
    assert machine("third") == []


def test_an_entry_of_another_shape_is_damaged(memory, machine, tmp_path, capsys):
    """As a stranger could put it there, with a digest that fits."""
    machine("first")
    np.save(tmp_path / "other.npy", VALUES[:3])
    content = (tmp_path / "other.npy").read_bytes()
    about = json.loads(memory[f"/lab/features/{KEY}.json"].getvalue())
    about |= {"size": len(content), "sha256": digest(content)}
    files = fsspec.filesystem("memory")
    files.pipe({f"/lab/features/{KEY}.npy": content, f"/lab/features/{KEY}.json": json.dumps(about).encode()})
    assert machine("second") == [0, 1, 2, 3, 4]
    assert "is damaged" in capsys.readouterr().err


def test_an_address_that_does_not_answer_costs_time_and_is_told_once(memory, machine, monkeypatch, capsys):
    asked = []

    def has(self, name):
        asked.append(name)
        raise StorageError("memory://lab/features may not be read (no); check the credentials in the environment")

    monkeypatch.setattr(Remote, "has", has)
    assert machine("first") == [0, 1, 2, 3, 4]
    assert machine("second") == [0, 1, 2, 3, 4]
    assert len(asked) == 1
    assert capsys.readouterr().err.count("until then features are not shared") == 1


def test_items_for_a_network_that_is_trained_along_stay_here(memory, machine):
    machine("first", PREIMAGE | {"kind": "prepared"})
    assert not memory


def test_what_is_no_address_is_refused(machine, monkeypatch):
    monkeypatch.setenv(shared.VARIABLE, "/shared/features")
    with pytest.raises(
        HashzooError, match=r"HASHZOO_FEATURES is an address such as s3://bucket/features, not '/shared"
    ):
        machine("first")
    monkeypatch.setenv(shared.VARIABLE, "nowhere://lab")
    with pytest.raises(HashzooError, match="Protocol not known"):
        machine("first")
