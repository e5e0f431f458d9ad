"""Bench files: what `hashzoo bench` is asked for, as TOML, with the names of its options."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hashzoo.data.stream import ASKED, stream_of
from hashzoo.errors import HashzooError, did_you_mean
from hashzoo.settings import text_of

# Each key of a file, the field of `benchmark.Request` that it fills, and what it holds. Those of `stream.ASKED` fill
# one field together.
KEYS = {
    "method": ("methods", "words"),
    "bits": ("bits", "numbers"),
    "dataset": ("dataset", "a word"),
    "encoders": ("encoders", "words"),
    "seeds": ("seeds", "numbers"),
    "set": ("settings", "a table"),
    "sweep": ("sweep", "a table"),
    "folds": ("folds", "a whole number"),
    "fold-seed": ("fold_seed", "a whole number"),
    "runs": ("runs", "a word"),
    "device": ("device", "a word"),
    "threads": ("threads", "a whole number"),
    "batch-size": ("batch_size", "a whole number"),
    "allow-overlap": ("allow_overlap", "true or false"),
    "protocol": ("protocol", "a word"),
    "chunk": ("chunk", "a whole number"),
    "chunks-by": ("chunks_by", "a word"),
    "order-seed": ("order_seed", "a whole number"),
    "database-codes": ("database_codes", "a word"),
}


def read_bench_file(path: Path, given: Mapping[str, Any]) -> tuple[list[dict[str, Any]], int | None]:
    """The benches of a file, as keywords of `benchmark.Request`, and how many cells it wants trained side by side.

    Keys before the first `[[bench]]` hold for every bench of the file; without one the file is one bench.

    Args:
        path: of the file.
        given: keywords that were given otherwise, and win; `settings` as typed and `sweep` do so path by path. A
            stream is given in the words of `stream.ASKED`.

    Raises:
        HashzooError: it cannot be read, or holds what is no option.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise HashzooError(f"there is no bench file {path}; methods are named so: --method soda,dcmh") from error
    except (OSError, ValueError) as error:
        raise HashzooError(f"{path} cannot be read as TOML ({error})") from error
    jobs = content.pop("jobs", None)
    if jobs is not None and (isinstance(jobs, bool) or not isinstance(jobs, int)):
        raise HashzooError(f"jobs in {path} is a whole number, not {jobs!r}")
    benches = content.pop("bench", [{}])
    if not isinstance(benches, list) or not benches or not all(isinstance(one, dict) for one in benches):
        raise HashzooError(f"bench in {path} is a list of tables; write [[bench]] above each")
    shared = _keywords(path, content, (*KEYS, "jobs", "bench"))
    typed = (text.partition("=") for text in given.get("settings", ()))
    given = {**given, "settings": {name.strip(): value for name, _, value in typed}}
    found = []
    for one in benches:
        asked = _joined(_joined(shared, _keywords(path, one, KEYS)), given)
        if not asked.get("methods"):
            raise HashzooError(f'{path} names no method; write method = ["soda", "dcmh"]')
        asked["settings"] = [f"{name}={value}" for name, value in asked.get("settings", {}).items()]
        arrival = {name: asked.pop(name) for name in ASKED if name in asked}
        try:
            found.append(asked | {"stream": stream_of(arrival)})
        except HashzooError as error:
            raise HashzooError(f"{path}: {error}") from error
    return found, jobs


def _keywords(path: Path, table: Mapping[str, Any], known: Sequence[str] | Mapping[str, Any]) -> dict[str, Any]:
    """One table of a file as keywords; settings and swept settings still by path."""
    found: dict[str, Any] = {}
    for key, value in table.items():
        if key not in KEYS:
            raise HashzooError(f"'{key}' in {path} is no option of a bench{did_you_mean(key, known)}")
        field, kind = KEYS[key]
        found[field] = _read(path, key, kind, value)
    return found


def _read(path: Path, key: str, kind: str, value: Any) -> Any:
    values = value if isinstance(value, list) else [value]
    whole = all(isinstance(one, int) and not isinstance(one, bool) for one in values)
    words = all(isinstance(one, str) for one in values)
    if kind == "a table" and isinstance(value, dict):
        flat = _flat(value)
        if key == "set":
            return {name: text_of(one) for name, one in flat.items()}
        several = {name: one if isinstance(one, list) else [one] for name, one in flat.items()}
        return {name: [text_of(one) for one in listed] for name, listed in several.items()}
    if kind == "words" and words:
        parts = [part.strip() for one in values for part in one.split(",")]
        return ",".join(parts) if key == "encoders" else parts
    if kind == "numbers" and whole:
        return values
    if (
        (kind == "a word" and isinstance(value, str))
        or (kind == "a whole number" and whole and not isinstance(value, list))
        or (kind == "true or false" and isinstance(value, bool))
    ):
        return value
    what = {"words": "a list of words", "numbers": "a list of whole numbers"}.get(kind, kind)
    raise HashzooError(f"{key} in {path} is {what}, not {value!r}")


def _flat(table: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """{"trainer": {"lr": 1}} to {"trainer.lr": 1}: TOML takes dots in keys apart."""
    found: dict[str, Any] = {}
    for name, value in table.items():
        found |= _flat(value, f"{above}{name}.") if isinstance(value, dict) else {f"{above}{name}": value}
    return found


def _joined(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """Both, where the second wins; of settings path by path: what is set there is not swept, and the other way.

    Where the second asks for the offline protocol nothing is left of a stream.
    """
    if second.get("protocol") == "offline":
        first = {name: value for name, value in first.items() if name not in ASKED}
    sets, sweeps = second.get("settings", {}), second.get("sweep", {})
    settings = {name: value for name, value in first.get("settings", {}).items() if name not in {*sets, *sweeps}}
    swept = {name: value for name, value in first.get("sweep", {}).items() if name not in {*sets, *sweeps}}
    return {**first, **second, "settings": {**settings, **sets}, "sweep": {**swept, **sweeps}}
