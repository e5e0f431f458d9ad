"""Rows of a collection in the layouts of other tools, read back with these tools."""

from __future__ import annotations

import json
import re
from datetime import datetime
from pathlib import Path

import duckdb
import lance
import numpy as np
import pandas
import pyarrow
import pyarrow.parquet
import pytest

from hashzoo import zoo
from hashzoo.codes import Codes, pack
from hashzoo.errors import HashzooError
from hashzoo.search import Collection, ExactIndex, exports, make_index

PAGE = (Path(__file__).parents[1] / "docs" / "export.md").read_text(encoding="utf-8")
BITS = 20  # not a whole number of bytes
GONE = [3, 7, 400]


def metadata(rows: int, start: int = 0) -> pandas.DataFrame:
    numbers = np.arange(start, start + rows)
    return pandas.DataFrame(
        {
            "title": [f'number {n}: "\N{LATIN SMALL LETTER E WITH ACUTE}"\n' for n in numbers],
            "price": np.where(numbers % 3 == 0, np.nan, numbers / 4),
            "seen": pandas.date_range("2020-01-01", periods=rows),
            "tags": [["a", str(n)] for n in numbers],
            "old": numbers % 2 == 0,
        }
    )


@pytest.fixture
def codes() -> Codes:
    ones = np.random.default_rng(0).random((500, BITS)) > 0.5
    return pack(ones)


@pytest.fixture
def collection(tmp_path, codes) -> Collection:
    made = Collection.create(tmp_path / "codes", BITS)
    made.append(codes[:300], metadata=metadata(300))
    made.append(codes[300:], metadata=metadata(200, 300)[["title"]])
    made.delete(GONE)
    return made


@pytest.fixture
def query() -> Codes:
    return pack(np.random.default_rng(1).random((1, BITS)) > 0.5)


def example(word: str) -> str:
    (block,) = (b for b in re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL) if f"import {word}" in b)
    return block


def test_duckdb_finds_in_parquet_what_the_collection_finds(collection, codes, query, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = exports.export(collection.path, "parquet", "codes.parquet")
    assert made == {"schema": 1, "to": "parquet", "out": "codes.parquet", "rows": 497, "bits": BITS, "code": "code"}
    found: dict = {}
    exec(example("duckdb"), {"query": query}, found)
    wanted = collection.query(query, k=10)
    assert found["nearest"] == list(zip(wanted.ids[0].tolist(), wanted.distances[0].tolist(), strict=True))

    file = pyarrow.parquet.ParquetFile("codes.parquet")
    assert file.schema.column(1).physical_type == "FIXED_LEN_BYTE_ARRAY"
    assert file.schema_arrow.field("code").type == pyarrow.binary(3)
    about = file.schema_arrow.metadata
    assert (about[b"hashzoo.bits"], about[b"hashzoo.code"]) == (b"20", b"code")
    table = file.read()
    left = np.setdiff1d(np.arange(500), GONE)
    assert table.column("id").to_pylist() == left.tolist()
    stored = np.frombuffer(b"".join(table.column("code").to_pylist()), np.uint8).reshape(-1, 3)
    assert np.array_equal(stored, codes.data[left])
    assert table.drop_columns(["id", "code"]).to_pylist() == [
        {key: value for key, value in row.items() if key != "id"}
        for row in duckdb.sql("SELECT * FROM 'codes/segments/*/metadata.parquet' ORDER BY id")
        .to_arrow_table()
        .to_pylist()
        if row["id"] not in GONE
    ]


def test_lance_finds_what_the_collection_finds(collection, codes, query, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exports.export(collection.path, "lance", "codes.lance")
    found: dict = {}
    exec(example("lance"), {"query": query}, found)
    hits, wanted = found["found"], collection.query(query, k=497)
    assert hits.column("_distance").to_pylist() == wanted.distances[0, :10].tolist()
    true = dict(zip(wanted.ids[0].tolist(), wanted.distances[0].tolist(), strict=True))
    assert [true[number] for number in hits.column("id").to_pylist()] == hits.column("_distance").to_pylist()

    data = lance.dataset("codes.lance")
    assert data.schema.field("code").type == pyarrow.list_(pyarrow.uint8(), 3)
    table = data.to_table()
    left = np.setdiff1d(np.arange(500), GONE)
    assert table.column("id").to_pylist() == left.tolist()
    assert table.column("code").to_pylist() == codes.data[left].tolist()
    assert table.column("title").to_pylist() == [
        *metadata(300)["title"].drop(GONE[:2]),
        *metadata(200, 300)["title"].drop(100),
    ]
    assert table.column("seen")[0].as_py() == datetime(2020, 1, 1)
    assert table.column("price")[:2].to_pylist() == [None, 0.25]


def test_elasticsearch_gets_requests_of_the_documented_shape(collection, codes, tmp_path, monkeypatch):
    monkeypatch.setattr(exports, "BULK_ROWS", 200)
    monkeypatch.setattr(exports, "BULK_BYTES", 30_000)
    out = tmp_path / "bulk"
    exports.export(collection.path, "elasticsearch-bulk", out)
    mapping = json.loads((out / "mapping.json").read_text())["mappings"]["properties"]
    assert mapping.pop("code") == {"type": "dense_vector", "element_type": "bit", "dims": 24}
    assert {name: field["type"] for name, field in mapping.items()} == {
        **{"id": "long", "title": "text", "price": "double", "seen": "date", "tags": "text", "old": "boolean"}
    }
    files = sorted(path.name for path in out.glob("*.ndjson"))
    assert files == [f"bulk-{n:05d}.ndjson" for n in range(len(files))]
    assert len(files) > 2
    seen = []
    for name in files:
        text = (out / name).read_text(encoding="utf-8")
        assert text.endswith("\n")
        assert len(text.encode()) < 31_000
        lines = [json.loads(line) for line in text.split("\n")[:-1]]
        for action, source in zip(lines[::2], lines[1::2], strict=True):
            assert action == {"index": {"_id": str(source["id"])}}
            assert set(source) <= {"id", "code", *mapping}
            assert re.fullmatch("[0-9a-f]{6}", source["code"])
            assert None not in source.values()
            seen.append(source)
    assert [source["id"] for source in seen] == np.setdiff1d(np.arange(500), GONE).tolist()
    for source in seen:
        assert bytes.fromhex(source["code"]) == codes.data[source["id"]].tobytes()
        assert source["title"] == metadata(1, source["id"])["title"][0]
    first = seen[1]
    assert (first["price"], first["seen"], first["tags"], first["old"]) == (
        *(0.25, "2020-01-02T00:00:00", ["a", "1"], False),
    )
    assert "price" not in seen[0]
    assert set(seen[-1]) == {"id", "code", "title"}


def test_numbers_that_json_lacks_are_null(tmp_path):
    made = Collection.create(tmp_path / "codes", 8)
    made.append(pack(np.eye(8)[:2]), metadata={"x": pyarrow.array([float("inf"), float("nan")])})
    exports.export(made.path, "elasticsearch-bulk", tmp_path / "bulk")
    lines = (tmp_path / "bulk" / "bulk-00000.ndjson").read_text().splitlines()
    assert [json.loads(line, parse_constant=pytest.fail)["x"] for line in lines[1::2]] == [None, None]


@pytest.mark.parametrize("to", exports.LAYOUTS)
@pytest.mark.parametrize("rows", [0, 1])
def test_without_rows_or_metadata(to, rows, tmp_path):
    made = Collection.create(tmp_path / "codes", 64)
    made.append(pack(np.eye(64)[:rows].reshape(rows, 64)))
    assert exports.export(made.path, to, tmp_path / "out")["rows"] == rows
    if to == "parquet":
        table = pyarrow.parquet.read_table(tmp_path / "out")
        assert (table.num_rows, table.column_names) == (rows, ["id", "code"])
    elif to == "lance":
        assert lance.dataset(str(tmp_path / "out")).count_rows() == rows
    else:
        assert len(list((tmp_path / "out").glob("*.ndjson"))) == rows


@pytest.mark.parametrize("to", exports.LAYOUTS)
def test_a_column_of_metadata_called_code_stays_what_it_is(to, tmp_path):
    made = Collection.create(tmp_path / "codes", 8)
    made.append(pack(np.eye(8)[:1]), metadata={"Code": ["7a"]})
    assert exports.export(made.path, to, tmp_path / "out")["code"] == "hashzoo_code"
    if to == "elasticsearch-bulk":
        source = json.loads((tmp_path / "out" / "bulk-00000.ndjson").read_text().splitlines()[1])
        assert source == {"id": 0, "Code": "7a", "hashzoo_code": "01"}
    both = Collection.create(tmp_path / "both", 8)
    both.append(pack(np.eye(8)[:1]), metadata={"code": ["a"], "hashzoo_code": ["b"]})
    with pytest.raises(HashzooError, match="columns 'code' and 'hashzoo_code'"):
        exports.export(both.path, to, tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_an_index_by_its_name_holds_the_collection(collection, query, tmp_path, command, sentence):
    out = tmp_path / "index"
    outcome = command("export", collection.path, "--to", "exact", "--out", out, "--json")
    assert outcome.code == 0, outcome.err
    assert json.loads(outcome.out) | {"out": ""} == {
        **{"schema": 1, "to": "exact", "out": "", "rows": 497, "bits": BITS, "code": None},
    }
    found, wanted = ExactIndex.load(out).search(query, 30), collection.query(query, k=30)
    assert np.array_equal(found.ids, wanted.ids)
    assert np.array_equal(found.distances, wanted.distances)
    other = tmp_path / "other"
    assert "no setting 'index.lists'" in sentence(
        *("export", collection.path, "--to", "exact", "--out", other, "--set", "index.lists=3")
    )
    assert "parquet has no settings" in sentence(
        *("export", collection.path, "--to", "parquet", "--out", other, "--set", "index.lists=3")
    )
    assert not other.exists()


class Picky(ExactIndex):
    """Has settings of several types, and refuses some."""

    kind = "picky"

    def __init__(self, bits: int, lists: int = 4, uri: str = "", sure: bool = True):
        if lists > 10:
            raise ValueError("lists is at most 10")
        if not sure:
            raise RuntimeError("it is not sure")
        super().__init__(bits)
        self.chosen = (lists, uri, sure)


def test_settings_of_an_index_are_converted_and_refused_in_one_sentence(monkeypatch):
    monkeypatch.setattr(zoo, "resolve_target", lambda plugin, target: Picky)
    index = make_index("exact", 64, ["index.lists=7", "index.uri=http://host:1?a=b"])
    assert (index.bits, index.chosen) == (64, (7, "http://host:1?a=b", True))
    for settings, said in (
        (["index.lists=11"], "index 'exact' refuses its settings: lists is at most 10"),
        (["index.lists=x"], "index.lists must be a whole number"),
        (["index.sure=false"], "plugin 'hashzoo' .*: index 'exact' cannot be built: RuntimeError: it is not sure"),
        (["trainer.lists=1"], "'trainer' in 'trainer.lists=1' is no section"),
    ):
        with pytest.raises(HashzooError, match=said):
            make_index("exact", 64, settings)
    with pytest.raises(HashzooError, match="a code|1 to 4096 bits"):
        make_index("exact", 0)
    with pytest.raises(HashzooError, match="no index is called 'exect'; did you mean exact"):
        make_index("exect", 64)


def test_the_command_line(collection, tmp_path, command, sentence):
    outcome = command("export", collection.path, "--to", "parquet", "--out", tmp_path / "a.parquet", "--json")
    assert outcome.code == 0
    assert json.loads(outcome.out)["rows"] == 497
    assert "497 codes of 20 bits" in outcome.err
    assert "a.parquet exists already; give a new path" in sentence(
        *("export", collection.path, "--to", "parquet", "--out", tmp_path / "a.parquet")
    )
    assert "no export to 'parket'; did you mean parquet?" in sentence(
        *("export", collection.path, "--to", "parket", "--out", tmp_path / "b")
    )
    both = "give either --to lance, elasticsearch-bulk or parquet with --out PATH, or --onnx OUT"
    assert both in sentence("export", collection.path)
    assert both in sentence("export", collection.path, "--to", "lance", "--onnx", "x")
    assert "--to takes --out PATH" in sentence("export", collection.path, "--to", "lance")
    assert "leave out --out" in sentence("export", collection.path, "--onnx", "x", "--out", "y")
    sentence("export", tmp_path, "--to", "lance", "--out", tmp_path / "b")
    (segment,) = sorted((collection.path / "segments").iterdir())[:1]
    whole = (segment / "codes.npy").read_bytes()
    (segment / "codes.npy").write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert "codes.npy" in sentence(*("export", collection.path, "--to", "lance", "--out", tmp_path / "b"), code=1)
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"codes", "a.parquet"}
