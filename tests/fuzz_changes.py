"""How whole files are made into files that nobody meant: as their content is built, or byte by byte.

Each takes the bytes of a file, a generator, and how many changes to make. See fuzzing.py.
"""

from __future__ import annotations

import bz2
import contextlib
import copy
import functools
import gzip
import hashlib
import io
import json
import random
import tarfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

ODD: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2**31, 2**63, -(2**70), 0.5, 1e308, float("nan"), float("inf")),
    *("", "x", "i2t", "/etc/passwd", "../..", "a\x1b[31m", "\ud800", "\u202e", "1" * 5000, "table:x", "toy"),
    *([], {}, [[]], [None], {"": {}}, [0] * 100, {"map": None}),
)


def change_bytes(content: bytes, rng: random.Random, times: int) -> bytes:
    """Cut off, changed, repeated or left out somewhere."""
    data = bytearray(content)
    for _ in range(times):
        if not data:
            break
        at, length = rng.randrange(len(data)), rng.randint(1, 16)
        what = rng.randrange(5)
        if what == 0:
            del data[at:]
        elif what == 1:
            data[at] ^= 1 << rng.randrange(8)
        elif what == 2:
            data[at:at] = data[at : at + length]
        elif what == 3:
            del data[at : at + length]
        else:
            data[at : at + length] = rng.randbytes(length)
    return bytes(data)


def change_value(value: Any, rng: random.Random) -> Any:
    """Nested JSON with one value at random exchanged, left out, added, moved or renamed."""
    if isinstance(value, dict) and value and rng.random() < 0.85:
        name = rng.choice(sorted(value))
        found = dict(value)
        what = rng.random()
        if what < 0.08:
            del found[name]
        elif what < 0.14:
            found[rng.choice(["", "x", "map", name + "x", "\x07"])] = found.pop(name)
        elif what < 0.18:
            found[rng.choice(["x", "map", "seconds", f"{name}{rng.randrange(100)}"])] = rng.choice(ODD)
        elif what < 0.23:
            found[name] = rng.choice(list(value.values()))
        else:
            found[name] = change_value(value[name], rng)
        return found
    if isinstance(value, list) and value and rng.random() < 0.85:
        found_list = list(value)
        at = rng.randrange(len(value))
        if rng.random() < 0.2:
            del found_list[at]
        else:
            found_list[at] = change_value(value[at], rng)
        return found_list
    return rng.choice(ODD) if rng.random() < 0.5 else _alike(value, rng)


def _alike(value: Any, rng: random.Random) -> Any:
    """Another value of the same type, which may well be read."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + rng.choice([-1, 1, value, rng.randrange(1000)])
    if isinstance(value, str):
        at = rng.randint(0, len(value))
        return rng.choice([value[:at] + chr(rng.randint(32, 0x2FFF)) + value[at:], value[:at], value.upper()])
    return value * 2 if isinstance(value, list) else value


parsed = functools.lru_cache(512)(json.loads)  # what is changed is copied on the way to it


def change_json(content: bytes, rng: random.Random, times: int) -> bytes:
    value = parsed(content)
    for _ in range(times):
        value = change_value(value, rng)
    return json.dumps(value).encode(errors="surrogatepass")


def change_lines(content: bytes, rng: random.Random, times: int) -> bytes:
    """Text with lines, or words, that are exchanged, left out, repeated or odd."""
    lines = content.decode().split("\n")
    for _ in range(times):
        at = rng.randrange(len(lines))
        separators = [one for one in (",", "\t", "=", '"', " ") if one in lines[at]] or [" "]
        separator = rng.choice(separators)
        words = lines[at].split(separator)
        place = rng.randrange(len(words))
        odd = str(rng.choice(ODD)).encode(errors="replace").decode()
        words[place] = rng.choice([odd, words[-1], "", f"{words[place]}{odd}"])
        lines[at] = separator.join(words)
        if rng.random() < 0.2:
            lines.insert(rng.randrange(len(lines)), rng.choice(lines))
    return "\n".join(lines).encode()


def change_json_lines(content: bytes, rng: random.Random, times: int) -> bytes:
    """Lines of JSON with values, lines or words that are changed."""
    for _ in range(times):
        lines = content.split(b"\n")
        at = rng.randrange(len(lines))
        if rng.random() < 0.7:
            with contextlib.suppress(ValueError):  # it may be no JSON any more
                lines[at] = change_json(lines[at] or b"{}", rng, 1)
                content = b"\n".join(lines)
                continue
        content = change_lines(content, rng, 1)
    return content


def change_toml(content: bytes, rng: random.Random, times: int) -> bytes:
    """A TOML file with values that are exchanged or odd, and lines or words that are changed."""
    for _ in range(times):
        lines = content.decode().split("\n")
        given = [at for at, line in enumerate(lines) if " = " in line]
        if rng.random() < 0.3 or not given:
            content = change_lines(content, rng, 1)
            continue
        at, other = rng.choice(given), rng.choice(given)
        name, value = lines[at].split(" = ", 1)
        what = rng.random()
        if what < 0.2:
            lines[at] = f"{name} = {lines[other].split(' = ', 1)[1]}"
        elif what < 0.3:
            lines[at] = f"{lines[other].split(' = ', 1)[0]} = {value}"
        elif what < 0.4:
            lines.insert(at, lines.pop(other))
        elif what < 0.6:
            lines[at] = f"{name} = [{value}, {json.dumps(rng.choice(ODD))}]"
        else:
            lines[at] = f"{name} = {json.dumps(rng.choice(ODD))}"
        content = "\n".join(lines).encode(errors="replace")
    return content


@functools.lru_cache(512)
def loaded(content: bytes) -> dict[str, np.ndarray]:
    """The arrays of an .npz file, which nobody may write to."""
    with np.load(io.BytesIO(content)) as file:
        return {name: file[name] for name in file.files}


def change_arrays(content: bytes, rng: random.Random, times: int) -> bytes:
    """An .npz file with arrays of another shape, type or content."""
    arrays = dict(loaded(content))
    for _ in range(times):
        _change_array(arrays, rng)
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def change_array(content: bytes, rng: random.Random, times: int) -> bytes:
    """An .npy file of another shape, type or content."""
    array = np.load(io.BytesIO(content))
    for _ in range(times):
        array = _changed(array, rng)
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def _changed(array: Any, rng: random.Random) -> Any:
    changes: list[Callable[[], Any]] = [
        lambda: array[: rng.randint(0, 3)] if array.ndim else array[None],
        lambda: array.astype(rng.choice(["<u1", "<i8", ">i4", "<f4", "<f8", "<U3", "S2", "?", "<c8", "<M8[s]"])),
        lambda: array.T if array.ndim else array + 1,
        lambda: np.full_like(array, rng.choice([0, 1, 255])),
        lambda: np.repeat(array, 2, axis=0) if array.ndim else array * 1000,
        lambda: np.full(array.shape, np.nan),
        lambda: array.reshape(-1, 1, *array.shape[1:]) if array.ndim else array,
        lambda: np.random.default_rng(rng.getrandbits(32)).permuted(array),
    ]
    return rng.choice(changes)()


def _change_array(arrays: dict[str, np.ndarray], rng: random.Random) -> None:
    name = rng.choice(sorted(arrays))
    array = arrays[name]
    arrays[name] = _changed(array, rng)
    if rng.random() < 0.15:
        del arrays[rng.choice(sorted(arrays))]
    if rng.random() < 0.15:
        arrays[rng.choice(["x", "a.data", "image_query.ids", "query"])] = array


@functools.lru_cache(512)
def members(content: bytes) -> list[tuple[str, bytes]]:
    """The files of a zip by name."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return [(info.filename, archive.read(info)) for info in archive.infolist()]


def change_members(content: bytes, rng: random.Random, times: int) -> bytes:
    """A zip with files that are renamed, exchanged, links, encrypted by name, or packed."""
    files = list(members(content))
    for _ in range(times):
        at = rng.randrange(len(files))
        name, inside = files[at]
        names = ["../x", "/x", "a/../../b", "x" * 300, "A/B", name.upper(), "", "CON", "a:b", "bundle.json", "\u202e"]
        files[at] = rng.choice(
            [(rng.choice(names), inside), (name, rng.choice(files)[1]), (name, inside[:-1]), (name, b"")]
        )
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", rng.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])) as archive:
        for name, inside in files:
            info = zipfile.ZipInfo(name)
            info.external_attr = rng.choice([0o644 << 16] * 40 + [0o120777 << 16, 0o060644 << 16])
            with contextlib.suppress(ValueError), warnings.catch_warnings(action="ignore"):  # twice a name
                archive.writestr(info, inside)
    return out.getvalue()


def change_bundle(content: bytes, rng: random.Random, times: int) -> bytes:
    """A bundle with records or arrays that are changed and listed as they are now, or changed as any zip."""
    files = dict(members(content))
    about = parsed(files["bundle.json"])
    for _ in range(times):
        if rng.random() < 0.3:
            return change_members(content, rng, times)
        name = rng.choice(sorted(files))
        change = {".json": change_json, ".npz": change_arrays}.get(Path(name).suffix, change_bytes)
        files[name] = change(files[name], rng, 1)
        if name == "bundle.json":
            about = parsed(files[name])
        elif rng.random() < 0.9:
            known = {"bytes": len(files[name]), "sha256": hashlib.sha256(files[name]).hexdigest()}
            about = about | {"files": about["files"] | {name: known}}
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, inside in (files | {"bundle.json": json.dumps(about).encode(errors="surrogatepass")}).items():
            archive.writestr(name, inside)
    return out.getvalue()


@functools.lru_cache(512)
def tarred(content: bytes) -> list[tuple[tarfile.TarInfo, bytes]]:
    """The members of a tar."""
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        opened = [(info, archive.extractfile(info) if info.isfile() else None) for info in archive]
        return [(info, file.read() if file else b"") for info, file in opened]


def change_tar(content: bytes, rng: random.Random, times: int) -> bytes:
    """A tar with members that are renamed, exchanged, longer than they say, links, devices or folders."""
    found = list(tarred(content))
    for _ in range(times):
        at = rng.randrange(len(found))
        info, inside = copy.copy(found[at][0]), found[at][1]
        what = rng.randrange(6)
        if what == 0:
            info.name = rng.choice(["../x", "/x", "x/../../b", "x" * 300, "X/A", "", "CON", "a:b", "\u202e"])
        elif what == 1:
            info.type = rng.choice([tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.BLKTYPE, b"S", b"?"])
            info.linkname = rng.choice(["", "/etc/passwd", "..", info.name])
        elif what == 2:
            info.type = rng.choice([tarfile.DIRTYPE, tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE])
        elif what == 3:
            inside = rng.choice(found)[1] * rng.choice([1, 1, 3])
            info.size = len(inside)
        elif what == 4:
            info.size = rng.choice([0, 1, 2**33, len(inside) + 512])
        else:
            info.pax_headers = {rng.choice(["size", "path", "comment", "GNU.sparse.map"]): str(rng.choice(ODD[:20]))}
        found[at] = info, inside
        if rng.random() < 0.2:
            found.insert(rng.randrange(len(found)), rng.choice(found))
    out = io.BytesIO()
    kind = rng.choice([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
    for info, inside in found:
        with contextlib.suppress(ValueError):
            out.write(info.tobuf(kind, "utf-8", "surrogateescape"))
            out.write(inside + bytes(-len(inside) % 512))
    whole = out.getvalue() + bytes(1024)
    return rng.choice([bytes, bytes, functools.partial(gzip.compress, mtime=0), bz2.compress])(whole)


def change_parquet(content: bytes, rng: random.Random, times: int) -> bytes:
    """A Parquet file with columns that are renamed, left out, of another type, or hold other values."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not times:
        return content
    table = pq.read_table(io.BytesIO(content))
    columns = {name: table.column(name).to_pylist() for name in table.column_names}
    for _ in range(times):
        name = rng.choice(sorted(columns))
        values = columns[name]
        what = rng.random()
        if what < 0.15:
            del columns[name]
        elif what < 0.3:
            columns[rng.choice(["", "x", "image", "text", "labels", "split", "id", "caption", name + "x"])] = values
        elif what < 0.5 and values:
            at = rng.randrange(len(values))
            columns[name] = [*values[:at], rng.choice([None, values[-1], values[0]]), *values[at + 1 :]]
        elif what < 0.7:
            words = ["", "x", "0.png", "../0.png", "a;b", "\x1b[31m", "/etc/passwd"]
            columns[name] = [rng.choice(words) for _ in values]
        elif what < 0.9:
            odd = rng.choice([None, True, 0, -1, 2**62, 0.5, float("nan"), b"\xff", [], ["a"], {"bytes": b"x"}, [[1]]])
            columns[name] = [odd for _ in values]
        else:
            columns = {name: one[: rng.randint(0, 3)] for name, one in columns.items()}
    out = io.BytesIO()
    packed = rng.choice(["none", "snappy", "zstd"])
    pq.write_table(pa.table(columns), out, compression=packed, use_dictionary=rng.random() < 0.5)
    return out.getvalue()


def change_manifest(content: bytes, rng: random.Random, times: int) -> bytes:
    """The manifest of a collection that is changed, with the digest that fits."""
    from hashzoo.storage.files import digest

    value = parsed(content)
    for _ in range(times):
        value = change_value(value, rng)
    if isinstance(value, dict) and rng.random() < 0.9:
        value = {name: one for name, one in value.items() if name != "digest"}
        with contextlib.suppress(ValueError):
            value["digest"] = digest(value)
    return json.dumps(value).encode(errors="surrogatepass")
