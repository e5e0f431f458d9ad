"""The rows of a collection for other tools: Lance, the bulk format of Elasticsearch, Parquet; or as an index.

Codes stay packed: byte j of a code holds its bits 8 j to 8 j + 7, the first in the least significant place, and padding
bits are 0. XOR and count: any tool that treats queries and rows alike finds Hamming distances.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hashzoo import zoo
from hashzoo.codes import Codes
from hashzoo.errors import HashzooError, did_you_mean, one_line
from hashzoo.search.collection import Collection
from hashzoo.search.named import make_index
from hashzoo.search.tables import ID, pyarrow_module
from hashzoo.storage.files import write_error, write_json

if TYPE_CHECKING:
    import pyarrow

CODE = "code"
INSTEAD = "hashzoo_code"  # where the metadata has a column of that name
BULK_BYTES = 32 << 20  # of a file for one request; Elasticsearch takes 100 MB by default
BULK_ROWS = 50_000
# Strings can be searched by their words, and compared as a whole, as where Elasticsearch maps them by itself.
TEXT = {"type": "text", "fields": {"keyword": {"type": "keyword", "ignore_above": 256}}}
FIELDS: dict[str, dict[str, Any]] = {
    "BOOLEAN": {"type": "boolean"},
    "BIGINT": {"type": "long"},
    "DOUBLE": {"type": "double"},
    "VARCHAR": TEXT,
    "TIMESTAMP": {"type": "date"},
    "DATE": {"type": "date"},
    "VARCHAR[]": TEXT,
}


def export(source: Path | str, to: str, out: Path | str, settings: Iterable[str] = ()) -> dict[str, Any]:
    """Write all rows of a collection in a layout that other tools read, or as an index.

    Args:
        source: folder of the collection.
        to: "lance", "elasticsearch-bulk" or "parquet": ids, codes and metadata; or the name of an index: ids and codes.
        out: the new folder, or the new file of "parquet".
        settings: of the index, as typed: "index.nprobe=8".

    Returns:
        {"schema": 1, "to", "out", "rows", "bits", "code": the name of the column of codes, None in an index}.

    Raises:
        HashzooError: there is no collection, `out` exists, or a package is missing.
    """
    settings, indexes = list(settings), zoo.load().names("index")
    if to not in LAYOUTS and to not in indexes:
        raise HashzooError(f"there is no export to '{to}'{did_you_mean(to, [*LAYOUTS, *indexes])}")
    if to in LAYOUTS and settings:
        raise HashzooError(f"{to} has no settings; leave out --set")
    collection, out = Collection(source), Path(out)
    if out.exists() or out.is_symlink():
        raise HashzooError(f"{out} exists already; give a new path")
    name = code_column(collection) if to in LAYOUTS else None
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as folder:
            made = Path(folder) / out.name
            if name:
                LAYOUTS[to](collection, name, made)
            else:
                to_index(collection, to, settings, made)
            os.replace(made, out)
    except OSError as error:
        raise write_error(out, error) from error
    return {"schema": 1, "to": to, "out": str(out), "rows": len(collection), "bits": collection.bits, "code": name}


def to_index(collection: Collection, name: str, settings: list[str], out: Path) -> None:
    """An index of that name, as `save` leaves it."""
    index = make_index(name, collection.bits, settings)
    for ids, codes, _ in collection.blocks():
        index.add(codes, ids)
    index.save(out)


def code_column(collection: Collection) -> str:
    """The name of the column of codes, which no column of metadata has."""
    taken = {name.lower() for name in collection.columns}
    if {CODE, INSTEAD} <= taken:
        raise HashzooError(f"the metadata has columns '{CODE}' and '{INSTEAD}'; encode again with one of them renamed")
    return INSTEAD if CODE in taken else CODE


def batches(
    collection: Collection, name: str, kind: pyarrow.DataType, values: Callable[[Codes], pyarrow.Array]
) -> pyarrow.RecordBatchReader:
    """`id`, codes and metadata, block by block.

    Args:
        name: of the column of codes.
        kind: of the column of codes.
        values: (n,) codes as Arrow has them.
    """
    pa = pyarrow_module()
    blocks = collection.blocks()
    first = next(blocks, None)

    def table(ids: np.ndarray, codes: Codes, metadata: pyarrow.Table | None) -> pyarrow.Table:
        made = pa.table({ID: pa.array(ids), name: values(codes)})
        if metadata is not None:
            for column in (column for column in metadata.column_names if column != ID):
                made = made.append_column(column, metadata.column(column))
        return made

    if first is None:
        empty = pa.schema([pa.field(ID, pa.int64()), pa.field(name, kind)])
        return pa.RecordBatchReader.from_batches(empty, [])
    start = table(*first)

    def rows() -> Iterator[pyarrow.RecordBatch]:
        yield from start.to_batches()
        for block in blocks:
            yield from table(*block).to_batches()

    return pa.RecordBatchReader.from_batches(start.schema, rows())


def to_lance(collection: Collection, name: str, out: Path) -> None:
    """A Lance data set with codes as fixed_size_list<uint8>: `nearest` with the metric "hamming" searches it."""
    pa = pyarrow_module()
    try:
        import lance
    except ImportError as error:
        raise HashzooError(
            f'an export to lance needs {error.name}; type: pip install "hashzoo[exports]"', exit_code=1
        ) from error
    width = -(-collection.bits // 8)
    kind = pa.list_(pa.uint8(), width)

    def values(codes: Codes) -> pyarrow.Array:
        return pa.FixedSizeListArray.from_arrays(pa.array(codes.data.reshape(-1)), width)

    rows = batches(collection, name, kind, values)
    try:
        lance.write_dataset(rows, str(out), schema=rows.schema)
    except (ValueError, RuntimeError) as error:
        raise HashzooError(f"Lance does not take the collection ({one_line(error)}); use --to parquet") from error


def to_parquet(collection: Collection, name: str, out: Path) -> None:
    """One file with codes as FIXED_LEN_BYTE_ARRAY; `hashzoo.bits` of its metadata is the code length."""
    pa, parquet = pyarrow_module(), pyarrow_module("pyarrow.parquet")
    width = -(-collection.bits // 8)
    kind = pa.binary(width)

    def values(codes: Codes) -> pyarrow.Array:
        return pa.Array.from_buffers(kind, len(codes), [None, pa.py_buffer(np.ascontiguousarray(codes.data))])

    rows = batches(collection, name, kind, values)
    about = {"hashzoo.bits": str(collection.bits), "hashzoo.code": name}
    with parquet.ParquetWriter(out, rows.schema.with_metadata(about), compression="zstd") as writer:
        for batch in rows:
            writer.write_batch(batch)


def to_elasticsearch(collection: Collection, name: str, out: Path) -> None:
    """Files of requests to `INDEX/_bulk`, and the mapping with which the index is made before."""
    out.mkdir()
    fields = {column: FIELDS[kind] for column, kind in collection.columns.items()}
    vector = {"type": "dense_vector", "element_type": "bit", "dims": 8 * -(-collection.bits // 8)}
    write_json(out / "mapping.json", {"mappings": {"properties": {ID: {"type": "long"}, name: vector, **fields}}})
    lines: list[str] = []
    size = number = 0

    def flush() -> None:
        nonlocal lines, size, number
        if lines:
            (out / f"bulk-{number:05d}.ndjson").write_text("".join(lines), encoding="utf-8")
        lines, size, number = [], 0, number + bool(lines)

    for ids, codes, metadata in collection.blocks():
        documents = metadata.to_pylist() if metadata is not None else [{}] * len(ids)
        for row, (number_of_row, document) in enumerate(zip(ids.tolist(), documents, strict=True)):
            action = json.dumps({"index": {"_id": str(number_of_row)}})
            own = {key: _plain(value) for key, value in document.items() if value is not None}
            source = json.dumps({**own, ID: number_of_row, name: codes.data[row].tobytes().hex()}, ensure_ascii=False)
            lines.append(f"{action}\n{source}\n")
            size += len(lines[-1].encode())
            if size >= BULK_BYTES or len(lines) >= BULK_ROWS:
                flush()
    flush()


def _plain(value: Any) -> Any:
    """A value as JSON has it: times and dates in the words of ISO 8601, no number that JSON lacks."""
    if hasattr(value, "isoformat"):
        return value.isoformat()
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value


LAYOUTS: dict[str, Callable[[Collection, str, Path], None]] = {
    "lance": to_lance,
    "elasticsearch-bulk": to_elasticsearch,
    "parquet": to_parquet,
}
