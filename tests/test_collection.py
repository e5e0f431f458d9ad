"""Collections agree with a slow oracle, whatever is appended, deleted, merged and asked; readers keep their state."""

from __future__ import annotations

import datetime
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import hashzoo.search
from hashzoo.codes import Codes, pack
from hashzoo.errors import HashzooError
from hashzoo.search import Collection, writing
from hashzoo.search.segments import SEGMENTS

BITS = 20
CONDITIONS = {  # SQL, and the same of an id and its metadata
    "year > 2": lambda i, m: m["year"] is not None and m["year"] > 2,
    "year IS NULL": lambda i, m: m["year"] is None,
    "key LIKE 'a%' OR id < 5": lambda i, m: (m["key"] or "").startswith("a") or i < 5,
    "id % 2 = 1 AND NOT key = 'b1'": lambda i, m: i % 2 == 1 and m["key"] is not None and m["key"] != "b1",
}


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch):
    monkeypatch.setattr("os.fsync", lambda descriptor: None)


def near_codes(rng, rows, bits=BITS):
    """(rows, bits) bool with small distances, so that ties abound."""
    ones = (rng.random((3, bits)) > 0.5)[rng.integers(0, 3, rows)]
    ones[:, rng.integers(0, bits, 2)] ^= rng.random((rows, 2)) > 0.5
    return ones


def segments(path):
    return sorted(p.name for p in (path / SEGMENTS).iterdir())


def hits(answer):
    """Each query's (distance, id) pairs, after checking that nothing but -1 follows them."""
    rows = []
    for ids, distances in zip(answer.ids.tolist(), answer.distances.tolist(), strict=True):
        found = ids.index(-1) if -1 in ids else len(ids)
        assert ids[found:] == distances[found:] == [-1] * (len(ids) - found)
        rows.append(list(zip(distances[:found], ids[:found], strict=True)))
    return rows


class Oracle:
    """What a collection should hold: id -> (ones, outputs, metadata)."""

    def __init__(self):
        self.rows = {}

    def nearest(self, query, test=lambda i, m: True):
        return sorted((int((ones != query).sum()), i) for i, (ones, _, m) in self.rows.items() if test(i, m))

    def compare(self, collection, rng):
        assert len(collection) == len(self.rows)
        assert collection.ids().tolist() == sorted(self.rows)
        queries = near_codes(rng, 3)
        packed, k = pack(queries), int(rng.integers(1, 12))
        assert hits(collection.query(packed, k=k)) == [self.nearest(q)[:k] for q in queries]
        inside = [[hit for hit in self.nearest(q) if hit[0] <= 6] for q in queries]
        assert hits(collection.query(packed, radius=6)) == inside
        assert hits(collection.query(packed, radius=6, k=k)) == [found[:k] for found in inside]
        if collection.columns:
            for where, test in CONDITIONS.items():
                wanted = [self.nearest(q, test) for q in queries]
                assert hits(collection.query(packed, k=k, where=where)) == [found[:k] for found in wanted]
                assert hits(collection.query(packed, radius=BITS, where=where)) == wanted
                assert collection.ids(where).tolist() == sorted(i for _, i in wanted[0])
        answer = collection.query(packed, k=4)
        for (query, rank), row in answer.metadata().astype(object).iterrows():
            assert row.id == answer.ids[query, rank]
            if collection.columns:
                known = self.rows[row.id][2]
                assert {name: None if pd.isna(row[name]) else row[name] for name in known} == known


@pytest.mark.parametrize("seed", range(6))
def test_any_sequence_of_changes_is_what_the_oracle_holds(seed, tmp_path, monkeypatch):
    monkeypatch.setattr(writing, "FANOUT", 3)
    monkeypatch.setattr(writing, "MERGED_ROWS", 50)
    rng = np.random.default_rng(seed)
    outputs = seed % 2 == 0
    collection, oracle = Collection.create(tmp_path / "c", BITS, outputs=outputs), Oracle()
    for step in range(25):
        action = rng.choice(["append", "append", "append", "delete", "compact", "open"])
        if action == "append":
            count = int(rng.integers(1, 15))
            values = (near_codes(rng, count) * 2 - 1) * (rng.random((count, BITS)) + 0.5)
            ids = None
            if rng.random() < 0.4:
                free = np.setdiff1d(np.arange(600), list(oracle.rows))
                ids = rng.permutation(free)[:count]
            metadata, known = None, [{"year": None, "key": None}] * count
            if step > 4 and rng.random() < 0.8:  # the first rows come without
                known = [{"year": int(rng.integers(0, 6)), "key": f"{rng.choice(['a', 'b'])}{n}"} for n in range(count)]
                metadata = pd.DataFrame(known)
                if rng.random() < 0.3:
                    metadata, known = metadata[["year"]], [m | {"key": None} for m in known]
            added = collection.append(pack(values), ids, metadata, values if outputs else None)
            oracle.rows |= {
                int(i): (v > 0, v.astype(np.float16), m) for i, v, m in zip(added, values, known, strict=True)
            }
        elif action == "delete" and oracle.rows:
            gone = rng.permutation(list(oracle.rows))[: int(rng.integers(1, len(oracle.rows) + 1))]
            collection.delete(gone)
            for i in gone.tolist():
                del oracle.rows[i]
        elif action == "compact":
            collection.compact()
        else:
            collection = hashzoo.search.open(tmp_path / "c")
        assert len(collection) == len(oracle.rows), action
    oracle.compare(collection, rng)
    collection.verify()
    before = collection.version
    collection.compact()
    oracle.compare(collection, rng)
    oracle.compare(hashzoo.search.open(tmp_path / "c"), rng)
    compacted = collection.version
    collection.compact()  # nothing is left to do
    assert before <= compacted == collection.version
    if outputs and oracle.rows:
        check_reranked(collection, oracle, rng)
    blocks = list(collection.blocks(7))
    held = {int(i): ones for ids, codes, _ in blocks for i, ones in zip(ids, codes.unpack(), strict=True)}
    assert held.keys() == oracle.rows.keys()
    assert all((held[i] == oracle.rows[i][0]).all() for i in held)


def check_reranked(collection, oracle, rng):
    values = rng.standard_normal((3, BITS))
    answer = collection.query(values, k=3, rerank=8)
    for query, ids, distances, scores in zip(values, answer.ids, answer.distances, answer.scores, strict=True):
        scored = []
        for distance, i in oracle.nearest(query > 0)[:8]:
            kept = oracle.rows[i][1].astype(np.float64)
            cosine = query @ kept / np.linalg.norm(query) / np.linalg.norm(kept)
            scored.append((BITS / 2 * (1 - cosine), i, distance))
        scored = sorted(scored)[:3]
        assert ids[: len(scored)].tolist() == [i for _, i, _ in scored]
        assert distances[: len(scored)].tolist() == [d for *_, d in scored]
        np.testing.assert_allclose(scores[: len(scored)], [s for s, *_ in scored], rtol=1e-9)
        assert np.isnan(scores[len(scored) :]).all()


def test_many_small_appends_leave_few_segments(tmp_path, monkeypatch):
    monkeypatch.setattr(writing, "FANOUT", 4)
    collection = Collection.create(tmp_path / "c", 8)
    for n in range(70):
        assert collection.append(Codes(np.array([[n % 256]], dtype=np.uint8), 8)).tolist() == [n]
    assert len(segments(tmp_path / "c")) <= 2 * writing.FANOUT
    assert collection.query(Codes(np.array([[7]], dtype=np.uint8), 8), k=3).ids.tolist() == [[7, 3, 5]]
    collection.compact()
    assert len(segments(tmp_path / "c")) == 1
    assert len(collection) == 70


def test_an_opened_collection_keeps_its_state_and_its_files(tmp_path):
    rng = np.random.default_rng(0)
    path, values = tmp_path / "c", rng.standard_normal((60, 16))
    writer = Collection.create(path, 16, outputs=True)
    for part in range(0, 60, 20):
        rows = slice(part, part + 20)
        writer.append(pack(values[rows]), metadata={"key": [f"k{n}" for n in range(60)][rows]}, outputs=values[rows])
    reader = hashzoo.search.open(path)  # maps codes; everything else is opened when it is needed
    before = segments(path)
    writer.delete(np.arange(0, 60, 2))
    writer.compact()
    writer.append(pack(values[:5]), outputs=values[:5])
    assert len(segments(path)) == len(before) + 2
    assert (len(reader), len(writer), len(hashzoo.search.open(path))) == (60, 35, 35)
    answer = reader.query(values[:1], k=60, rerank=60, where="key != 'k7'")
    assert sorted(answer.ids[0].tolist()) == [-1, *(n for n in range(60) if n != 7)]
    reader.verify()
    assert reader.refresh()
    assert not reader.refresh()
    assert len(reader) == 35
    assert set(before) < set(segments(path))
    assert answer.metadata().key.tolist()[0] == "k0"  # the answer holds on to its state
    del answer
    writer.compact()
    assert not set(before) & set(segments(path))
    assert len(segments(path)) == 3  # two are the reader's
    del reader
    writer.compact()
    assert len(segments(path)) == 1
    assert len(hashzoo.search.open(path)) == 35


def test_readers_see_whole_changes_while_a_writer_works(tmp_path):
    path = tmp_path / "c"
    Collection.create(path, 32).append(pack(np.zeros((10, 32))))
    done, failures = threading.Event(), []

    def write():
        writer = hashzoo.search.open(path)
        for n in range(25):
            added = writer.append(pack(np.zeros((10, 32))), metadata={"n": [n] * 10})
            if n % 3 == 2:
                writer.delete(added)
            if n % 7 == 6:
                writer.compact()
        done.set()

    def read():
        try:
            last = -1
            while not done.is_set():
                reader = hashzoo.search.open(path)
                assert reader.version >= last
                last = reader.version
                found = reader.query(pack(np.zeros((1, 32))), radius=0)
                assert found.ids.shape[1] == len(reader)
                assert len(reader) % 10 == 0
                assert found.metadata().id.tolist() == reader.ids().tolist()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=write), *(threading.Thread(target=read) for _ in range(2))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert len(hashzoo.search.open(path)) == 10 + 25 * 10 - 8 * 10


def test_writers_in_threads_wait_for_each_other(tmp_path):
    path = tmp_path / "c"
    shared = Collection.create(path, 8)

    def work():
        own = hashzoo.search.open(path)
        for collection in (own, shared) * 4:
            collection.append(pack(np.ones((2, 8))))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert hashzoo.search.open(path).ids().tolist() == list(range(48))


def test_metadata_of_every_kind(tmp_path):
    collection = Collection.create(tmp_path / "c", 8)
    moment = datetime.datetime(2024, 5, 6, 7, 8, 9)
    frame = pd.DataFrame(
        {
            "file name": ["a.jpg", "b.jpg", None],
            "year": pd.array([2001, None, 2003], dtype="Int64"),
            "size": np.array([1.5, np.nan, 2.5], dtype=np.float32),
            "kept": [True, False, True],
            "taken": pd.to_datetime([moment, None, moment]),
            "kind": pd.Categorical(["x", "y", "x"]),
            "empty": [None, None, None],
        }
    )
    collection.append(pack(np.eye(3, 8)), metadata=frame)
    tags = pa.table({"tags": [["cat", "dog"], [], None], "day": [moment.date()] * 3})
    collection.append(pack(np.eye(3, 8)), metadata=tags)
    assert collection.columns == {
        "file name": "VARCHAR",
        "year": "BIGINT",
        "size": "DOUBLE",
        "kept": "BOOLEAN",
        "taken": "TIMESTAMP",
        "kind": "VARCHAR",
        "tags": "VARCHAR[]",
        "day": "DATE",
    }
    for where, ids in {
        "\"file name\" = 'b.jpg'": [1],
        "year BETWEEN 2000 AND 2002 AND kept": [0],
        "size IS NULL AND kind = 'y'": [1],
        "year(taken) = 2024 AND taken > TIMESTAMP '2024-05-06' + INTERVAL 7 HOURS": [0, 2],
        "list_contains(tags, 'dog')": [3],
        "length(tags) = 0 OR day < DATE '1999-01-01'": [4],
        "lower(upper(kind)) ILIKE 'X%' AND kind COLLATE nocase = 'X'": [0, 2],
        "CASE WHEN id > 3 THEN true ELSE kept END AND CAST(id AS VARCHAR) NOT IN ('0', '4')": [2, 5],
    }.items():
        assert collection.ids(where).tolist() == ids, where
    found = collection.metadata([4, 0])
    assert found.id.tolist() == [4, 0]
    assert found.taken.tolist() == [pd.NaT, moment]
    assert list(found["tags"][0]) == []
    assert collection.metadata([1, 0]).year.tolist() == [pd.NA, 2001]
    zoned = pd.DataFrame({"taken": pd.to_datetime([moment] * 2).tz_localize("Etc/GMT-2")})
    assert collection.metadata(collection.append(pack(np.eye(2, 8)), metadata=zoned)).taken[0].hour == 5
    # A column keeps its type; what fits it without loss is converted.
    collection.append(pack(np.eye(1, 8)), metadata={"year": [2005.0], "size": [3], "kind": pd.Categorical(["z"])})
    assert collection.ids("year = 2005 AND size = 3 AND kind = 'z'").tolist() == [8]


def test_a_model_is_kept_and_encodes_queries(tmp_path, monkeypatch):
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    files = {"run.json": b"{}", "model.safetensors": tmp_path / "model.safetensors"}
    path = tmp_path / "c"
    collection = Collection.create(path, 8, model=files, about={"modality": "image"})
    collection.append(pack(np.eye(8)))
    values = np.array([[0.1, 0, 0, 0, 0, 0, 0, 0]])
    asked = []

    def encoded(items):
        asked.append(items)
        return pack(values.repeat(len(items), 0)), values.repeat(len(items), 0)

    def load_model(folder):
        assert folder == path / "model"
        assert (folder / "model.safetensors").read_bytes() == b"weights"
        return SimpleNamespace(encode_texts=encoded, encode_images=encoded)

    monkeypatch.setitem(sys.modules, "hashzoo.inference.model", SimpleNamespace(load_model=load_model))
    assert collection.about == {"modality": "image"}
    assert collection.query(text="a cat", k=1).ids.tolist() == [[0]]
    assert collection.query(text=["a", "b"], k=1, rerank=3).scores.shape == (2, 1)
    assert collection.query(image=Path("x.jpg"), k=1).distances.tolist() == [[0]]
    assert asked == [["a cat"], ["a", "b"], [Path("x.jpg")]]
    collection.verify()
    (path / "model" / "run.json").write_bytes(b"[]")
    again = hashzoo.search.open(path)
    assert again.query(pack(np.eye(8)), k=1).ids[:, 0].tolist() == list(range(8))  # needs no model
    with pytest.raises(HashzooError, match="model/run.json does not match its digest"):
        again.query(text="a cat")
    with pytest.raises(HashzooError, match="has no model; give codes"):
        Collection.create(tmp_path / "other", 8).query(text="a cat")


def test_codes_alone_need_neither_pyarrow_nor_duckdb(tmp_path, monkeypatch):
    collection = Collection.create(tmp_path / "with", 8)
    collection.append(pack(np.eye(8)), metadata={"n": range(8)})
    for module in ("pyarrow", "pyarrow.parquet", "duckdb"):
        monkeypatch.setitem(sys.modules, module, None)
    plain = Collection.create(tmp_path / "plain", 8)
    plain.append(pack(np.eye(8)))
    plain.delete([3])
    plain.compact()
    assert plain.query(pack(np.eye(1, 8)), k=1).metadata().id.tolist() == [0]
    reader = hashzoo.search.open(tmp_path / "with")
    assert reader.query(pack(np.eye(1, 8)), k=1).ids.tolist() == [[0]]
    with pytest.raises(
        HashzooError, match=r"needs pyarrow, which is not installed: type pip install 'hashzoo\[search\]"
    ):
        reader.query(pack(np.eye(1, 8)), k=1).metadata()
    with pytest.raises(HashzooError, match=r"needs pyarrow.*pip install 'hashzoo\[search\]"):
        plain.append(pack(np.eye(8)), metadata={"n": range(8)})
    with pytest.raises(HashzooError, match=r"need duckdb, which is not installed: type pip install 'hashzoo\[search\]"):
        reader.ids("n > 1")


REFUSED = {
    "codes of 20 bits, these have 8": lambda c: c.append(pack(np.eye(8))),
    "takes packed codes, not ndarray": lambda c: c.append(np.eye(20)),
    "2 codes came with 1 ids": lambda c: c.append(pack(np.eye(2, 20)), ids=[8]),
    "id 8 is given twice": lambda c: c.append(pack(np.eye(2, 20)), ids=[8, 8]),
    "id 3 is in the collection already; delete it": lambda c: c.append(pack(np.eye(2, 20)), ids=[8, 3]),
    "ids are from 0 to": lambda c: c.append(pack(np.eye(2, 20)), ids=[8, -1]),
    "keeps no real-valued outputs": lambda c: c.append(pack(np.eye(2, 20)), outputs=np.eye(2, 20)),
    "2 codes came with 3 rows of metadata": lambda c: c.append(pack(np.eye(2, 20)), metadata={"n": [1, 2, 3]}),
    "2 codes came with 0 rows of metadata": lambda c: c.append(pack(np.eye(2, 20)), metadata={"m": []}),
    "metadata is a pandas.DataFrame": lambda c: c.append(pack(np.eye(2, 20)), metadata=[1, 2]),
    "metadata cannot be kept": lambda c: c.append(pack(np.eye(2, 20)), metadata={"m": [1, "x"]}),
    "no column of metadata can be called 'ID'": lambda c: c.append(pack(np.eye(1, 20)), metadata={"ID": [1]}),
    "'n' and 'N' of metadata are one in SQL": lambda c: c.append(pack(np.eye(1, 20)), metadata={"N": [1]}),
    "column 'n' is BIGINT in this collection": lambda c: c.append(pack(np.eye(1, 20)), metadata={"n": ["x"]}),
    "column 'n' is BIGINT in this collection, and double": lambda c: c.append(
        pack(np.eye(1, 20)), metadata={"n": [1.5]}
    ),
    "column 'key' is VARCHAR in this collection": lambda c: c.append(pack(np.eye(1, 20)), metadata={"key": [1]}),
    "column 'm' holds struct": lambda c: c.append(pack(np.eye(1, 20)), metadata={"m": [{"a": 1}]}),
    "id 9 is not in the collection, so nothing was deleted": lambda c: c.delete([1, 9]),
    "id 7 is not in the collection; leave": lambda c: c.metadata([7]),
    "k, the number of hits": lambda c: c.query(pack(np.eye(1, 20)), k=0),
    "a radius is a whole number": lambda c: c.query(pack(np.eye(1, 20)), radius=-1),
    "rerank, the number of candidates, is a whole number from k": lambda c: c.query(np.eye(1, 20), k=3, rerank=2),
    "give k, too": lambda c: c.query(np.eye(1, 20), radius=3, rerank=2),
    "packed codes cannot re-rank packed codes": lambda c: c.query(pack(np.eye(1, 20)), k=1, rerank=3),
    "a query is one of codes=, text= and image=": lambda c: c.query(pack(np.eye(1, 20)), text="x"),
    "finite numbers": lambda c: c.query(np.full((1, 20), np.inf)),
    "too many at a time": lambda c: c.query(np.eye(2, 20), k=1 << 40),
    "is not empty": lambda c: Collection.create(c.path.parent, 8),
    "holds a collection already": lambda c: Collection.create(c.path, 8),
    "codes of 1 to 4096 bits": lambda c: Collection.create(c.path.parent / "new", 0),
    "kept as JSON, which it is not": lambda c: Collection.create(c.path.parent / "new", 8, about={"x": {1}}),
    "there is no collection in": lambda c: hashzoo.search.open(c.path.parent),
    "files of a model have plain names": lambda c: Collection.create(c.path.parent / "n", 8, model={"../x": b""}),
}


@pytest.mark.parametrize("sentence", REFUSED)
def test_bad_requests_are_one_sentence_and_change_nothing(sentence, tmp_path):
    collection = Collection.create(tmp_path / "c", 20)
    collection.append(pack(np.eye(5, 20)), metadata={"n": range(5), "key": list("abcde")})
    before = collection.version, segments(collection.path)
    with pytest.raises(HashzooError) as caught:
        REFUSED[sentence](collection)
    assert sentence in str(caught.value)
    again = hashzoo.search.open(collection.path)
    assert (again.version, segments(collection.path)) == before
    assert collection.version == before[0]


def test_radius_searches_that_would_fill_the_memory_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("hashzoo.search.scan.HITS", 100)
    collection = Collection.create(tmp_path / "c", 8)
    collection.append(pack(np.zeros((60, 8))))
    assert collection.query(pack(np.zeros((1, 8))), radius=0).ids.shape == (1, 60)
    with pytest.raises(HashzooError, match="too many codes lie within 0 bits, up to 60 of a query; give k"):
        collection.query(pack(np.zeros((2, 8))), radius=0)


def test_an_empty_collection_answers(tmp_path):
    collection = Collection.create(tmp_path / "c", 8)
    assert collection.append(pack(np.zeros((0, 8)))).tolist() == []
    assert collection.query(pack(np.zeros((2, 8))), k=3).ids.tolist() == [[-1] * 3] * 2
    assert collection.query(pack(np.zeros((2, 8))), radius=3).ids.shape == (2, 0)
    collection.append(pack(np.zeros((2, 8))), metadata={"n": [1, 2]})
    collection.delete([0, 1])
    assert collection.ids("n > 0").tolist() == []
    assert collection.query(np.zeros((1, 8)), k=2, rerank=2).metadata().empty
    assert collection.append(pack(np.zeros((1, 8)))).tolist() == [2]  # ids are not given again
    assert collection.columns == {"n": "BIGINT"}


def test_a_folder_that_a_killed_creation_left_is_taken_over(tmp_path):
    path = tmp_path / "c"
    (path / "model").mkdir(parents=True)
    (path / "model" / "run.json").write_bytes(b"half")
    (path / ".lock").write_bytes(b"")
    Collection.create(path, 8, model={"run.json": b"whole"}).verify()
    assert (path / "model" / "run.json").read_bytes() == b"whole"
