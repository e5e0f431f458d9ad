"""Milvus embedded and by its address, against the exact index of hashzoo."""

from __future__ import annotations

import gc
import re
import socket
import time
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from hashzoo_milvus import index as milvus
from hashzoo_milvus.embedded import check_installed
from hashzoo_milvus.index import MilvusIndex

from hashzoo.codes import pack
from hashzoo.errors import HashzooError
from hashzoo.search import ExactIndex
from hashzoo.settings import keywords

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def address(tmp_path_factory) -> str:
    """A Milvus that listens at a port, as a server does; behind it is milvus-lite."""
    from milvus_lite.server import Server
    from pymilvus import MilvusClient, MilvusException

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = Server(str(tmp_path_factory.mktemp("server") / "all.db"), f"127.0.0.1:{port}")
    assert server.init()
    assert server.start()
    until = time.monotonic() + 60
    while True:
        try:
            MilvusClient(f"http://127.0.0.1:{port}").close()
            break
        except MilvusException:
            assert time.monotonic() < until
            time.sleep(0.1)
    yield f"http://127.0.0.1:{port}"
    server._p.kill()  # one that listens at a port waits for no lock
    server.stop()


def random_codes(rows: int, bits: int, seed: int):
    return pack(np.random.default_rng(seed).random((rows, bits)) > 0.5)


def same_distances(index, twin, queries, k: int) -> None:
    """That two indexes find codes at the same distances, and that those of `index` are true."""
    found, wanted = index.search(queries, k), twin.search(queries, k)
    assert np.array_equal(found.distances, wanted.distances)
    everything = twin.search(queries, len(twin))
    for ids, distances, all_ids, all_distances in zip(
        found.ids, found.distances, everything.ids, everything.distances, strict=True
    ):
        true = dict(zip(all_ids.tolist(), all_distances.tolist(), strict=True))
        assert [true[number] for number in ids.tolist()] == distances.tolist()


def test_all_that_was_just_added_or_removed_is_seen_by_the_next_search():
    index, twin = MilvusIndex(20), ExactIndex(20)
    for start in range(0, 2000, 500):
        codes = random_codes(500, 20, seed=start)
        for one in (index, twin):
            one.add(codes, np.arange(start, start + 500))
        same_distances(index, twin, codes[::100], 10)
        for one in (index, twin):
            one.remove(np.arange(start, start + 100))
        same_distances(index, twin, codes[::100], 10)
    assert len(index) == 1600


def test_an_embedded_milvus_goes_with_its_index():
    index = MilvusIndex(8)
    index.add(pack(np.eye(8)), np.arange(8))
    folder, address = index.embedded.path.parent, index._client
    assert folder.is_dir()
    assert address is not None
    del index, address
    gc.collect()
    assert not folder.exists()


def test_a_copy_is_whole_although_nothing_was_flushed(tmp_path):
    index = MilvusIndex(64)
    codes = random_codes(3000, 64, seed=0)
    index.add(codes, np.arange(3000))
    index.save(tmp_path)
    loaded = MilvusIndex.load(tmp_path)
    assert len(loaded) == 3000
    assert np.array_equal(loaded.search(codes[::300], 1).ids[:, 0], np.arange(0, 3000, 300))


def test_by_an_address_it_is_the_same_and_shared(address, tmp_path, monkeypatch):
    given = {}
    plain = milvus.MilvusClient
    monkeypatch.setattr(milvus, "MilvusClient", lambda **how: (given.update(how), plain(**how))[1])
    monkeypatch.setenv("MILVUS_TOKEN", "root:secret")
    index, twin = MilvusIndex(64, uri=address, collection="pictures"), ExactIndex(64)
    assert given == {"uri": address, "token": "root:secret"}
    assert "root:secret" not in str(index.settings)
    codes = random_codes(1500, 64, seed=1)
    for one in (index, twin):
        one.add(codes, np.arange(1500) + 2**40)
        one.remove(np.arange(700) + 2**40)
        one.add(codes[:3], np.arange(900, 903) + 2**40)
    same_distances(index, twin, codes[::150], 12)

    other = MilvusIndex(64, uri=address, collection="pictures")
    assert len(other) == 800
    same_distances(other, twin, codes[:2], 5)
    index.save(tmp_path)
    loaded = MilvusIndex.load(tmp_path)
    same_distances(loaded, twin, codes[:2], 5)
    loaded.remove([900 + 2**40])
    assert len(other) == 799
    with pytest.raises(HashzooError, match="it holds 799 codes instead of 800"):
        MilvusIndex.load(tmp_path)

    with pytest.raises(HashzooError, match=r"does not hold codes of 128 bits \(it has id, code, and 64 bits\)"):
        MilvusIndex(128, uri=address, collection="pictures")
    with pytest.raises(HashzooError, match=f"Milvus at {address} refuses: "):
        MilvusIndex(64, uri=address, collection="lists", index_type="BIN_IVF_FLAT")


def test_what_is_asked_of_a_cluster_for_inverted_lists(monkeypatch):
    """No cluster is here: this is what it would be told."""
    said = {}

    class Client:
        def __init__(self, **how):
            self.rows = {}

        def has_collection(self, name):
            return False

        def create_schema(self, **how):
            return milvus_schema()

        def prepare_index_params(self):
            from pymilvus import MilvusClient

            return MilvusClient.prepare_index_params()

        def create_collection(self, name, **how):
            said["index"] = {**how["index_params"][0].to_dict()}
            said["level"] = how["consistency_level"]

        def query(self, *names, **how):
            return [{"count(*)": 3}]

        def search(self, name, data, **how):
            said["search"] = how
            return [[{"id": 2, "distance": 0.0}, {"id": 1, "distance": 3.0}] for _ in data]

    def milvus_schema():
        from pymilvus import MilvusClient

        return MilvusClient.create_schema(auto_id=False)

    monkeypatch.setattr(milvus, "MilvusClient", Client)
    index = MilvusIndex(64, uri="http://cluster:19530", collection="c", index_type="BIN_IVF_FLAT", nlist=99, nprobe=7)
    assert said["index"]["index_type"] == "BIN_IVF_FLAT"
    assert said["index"]["metric_type"] == "HAMMING"
    assert "99" in str(said["index"])
    assert said["level"] == "Strong"
    hits = index.search(pack(np.eye(64)[:2]), 3)
    assert said["search"]["search_params"] == {"metric_type": "HAMMING", "params": {"nprobe": 7}}
    assert said["search"]["consistency_level"] == "Strong"
    assert hits.ids.tolist() == [[2, 1, -1]] * 2
    assert hits.distances.tolist() == [[0, 3, -1]] * 2


def test_no_more_hits_than_milvus_gives(monkeypatch):
    monkeypatch.setattr(milvus, "MOST_HITS", 5)
    monkeypatch.setattr(milvus, "ANSWERS", 10)  # two queries a request
    index = MilvusIndex(16)
    codes = random_codes(20, 16, seed=0)
    index.add(codes, np.arange(20))
    hits = index.search(codes[:5], 8)
    assert (hits.ids[:, 5:] == -1).all()
    assert hits.ids[:, 0].tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"index_type": "HNSW"}, "index_type is BIN_FLAT or BIN_IVF_FLAT"),
        ({"index_type": "BIN_IVF_FLAT"}, "the embedded Milvus has BIN_FLAT alone; give the uri"),
        ({"nprobe": 0}, "nprobe is a whole number from 1"),
        ({"uri": "http://localhost:19530"}, "uri and collection go together"),
        ({"collection": "a"}, "uri and collection go together"),
        ({"uri": "http://localhost:19530", "collection": "a-b"}, "'a-b' is no name for a collection"),
    ],
)
def test_a_setting_that_cannot_be_is_refused(setting, said):
    with pytest.raises(ValueError, match=said):
        MilvusIndex(64, **setting)


@pytest.mark.parametrize(
    ("version", "said"),
    [
        (
            "3.2.2",
            r"milvus-lite 3.2.2 is installed, which takes no binary vectors; type: pip install milvus-lite==2.5.1",
        ),
        (None, r"needs milvus-lite; type: pip install milvus-lite==2.5.1 'setuptools<81'; or give the address"),
    ],
)
def test_a_milvus_lite_that_cannot_do_it_is_named(version, said, monkeypatch):
    def of(name):
        if version is None:
            raise metadata.PackageNotFoundError(name)
        return version

    monkeypatch.setattr("hashzoo_milvus.embedded.metadata.version", of)
    with pytest.raises(HashzooError, match=said):
        check_installed()
    with pytest.raises(HashzooError, match=said):
        MilvusIndex(64)


def test_an_address_where_nobody_is_is_one_sentence():
    with pytest.raises(HashzooError, match=r"Milvus at http://127.0.0.1:9 refuses: .*check the address"):
        MilvusIndex(64, uri="http://127.0.0.1:9", collection="a")


def test_the_readme_names_every_setting_with_its_default():
    for name, parameter in keywords(MilvusIndex, ["bits"]).items():
        assert re.search(rf"`{name}` \({parameter.default or 'empty'}\)", README), name
