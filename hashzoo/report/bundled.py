"""Checks a bundle that a stranger sent: unpacked under limits, then every score computed again from the codes."""

from __future__ import annotations

import contextlib
import struct
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hashzoo.benches.records import DESCRIPTION, RUN, check_files, key_of, read_record
from hashzoo.benches.rounds import NAMES, score_run
from hashzoo.benches.track import Track, read_result
from hashzoo.codes import health, load_codes
from hashzoo.data.archives import DAMAGE, listing, unpack
from hashzoo.errors import HashzooError, one_line
from hashzoo.report.bundle import ABOUT, FILES, MOST_BYTES, MOST_ENTRIES, README, RUNS
from hashzoo.storage.files import canonical_json, file_digest, read_arrays
from hashzoo.storage.shapes import LINE, Each, Fields, ListOf, Number

SHAPE = Fields(
    {
        "schema": Number(1, 1),
        "shortened": ListOf(LINE),
        "files": Each(Fields({"bytes": Number(0, MOST_BYTES), "sha256": LINE})),
    }
)
SAME = 1e-9  # sums are taken in another order by another processor or numpy
MOST_PAIRS = 10**12  # of queries and database rows that are compared: a day's work would be refused, a large study not
GET_ANEW = "ask for it again, or leave it"


@dataclass(frozen=True)
class Checked:
    """What was checked, and holds: tracks, runs, of these failed ones, which have no scores, and numbers compared."""

    tracks: int
    runs: int
    failed: int
    numbers: int


@contextlib.contextmanager
def unpacked(path: Path) -> Iterator[tuple[Path, Checked]]:
    """The runs folder of a bundle, for as long as the block takes, and what was checked of it.

    Raises:
        HashzooError: it is no bundle, could harm this machine, or does not hold.
    """
    if not zipfile.is_zipfile(path):
        raise HashzooError(f"{path} is neither a runs folder nor a bundle of hashzoo report; name one of the two")
    _look_at_directory(path)
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (OSError, *DAMAGE) as error:
        raise HashzooError(f"{path} cannot be read as a zip ({one_line(error)}); {GET_ANEW}") from error
    if ABOUT not in names:
        raise HashzooError(f"{path} has no {ABOUT}, so that it is no bundle of hashzoo report; {GET_ANEW}")
    with tempfile.TemporaryDirectory(prefix="hashzoo-bundle-") as folder:
        unpack(path, Path(folder), MOST_BYTES, MOST_ENTRIES)
        checked = check(path, Path(folder))
        yield Path(folder) / RUNS, checked


def check(path: Path, folder: Path) -> Checked:
    """Check an unpacked bundle: files, keys, and every number that follows from codes and labels.

    Raises:
        HashzooError: something does not hold; the sentence says what, of the first run that does not.
    """
    try:
        about = read_record(folder / ABOUT, SHAPE, f"{ABOUT} must be whole")
        _check_files(folder, about)
        runs = sorted(one.parent for one in (folder / RUNS).glob("*/*/*/run.json"))
        if not runs:
            raise HashzooError("it holds no run")
        tracks = {place: Track.load(place) for place in sorted({run.parents[1] for run in runs})}
        pairs = sum(tracks[run.parents[1]].counts["query"] * tracks[run.parents[1]].counts["database"] for run in runs)
        if pairs > MOST_PAIRS:
            raise HashzooError(f"its runs compare {pairs:,} pairs of rows, over {MOST_PAIRS:,}")
        for place, track in tracks.items():
            if place.name != track.id:
                raise HashzooError(f"the track in {place.name} is {track.id}")
        numbers, failed, wrong = 0, 0, []
        for run in runs:
            name = run.relative_to(folder).as_posix()
            try:
                compared = _check_run(tracks[run.parents[1]], run, name, about["shortened"])
                numbers, failed = numbers + (compared or 0), failed + (compared is None)
            except (HashzooError, KeyError, TypeError, ValueError) as error:
                wrong.append(f"{name}: {one_line(error)}")
        if wrong:
            more = f", and {len(wrong) - 1} more of {len(runs)} runs" if len(wrong) > 1 else ""
            raise HashzooError(f"{wrong[0]}{more}")
    except HashzooError as error:
        said = str(error).replace(f"{folder}/", "")
        raise HashzooError(f"{path} does not hold: {said}; {GET_ANEW}", exit_code=1) from error
    return Checked(len(tracks), len(runs), failed, numbers)


def _look_at_directory(path: Path) -> None:
    """Refuse a list of entries that is longer than that of any bundle, before it is read."""
    with open(path, "rb") as file:
        length = file.seek(0, 2)
        file.seek(max(0, length - 2**16 - 22))
        end = file.read()
    at = end.rfind(b"PK\x05\x06")
    (size,) = struct.unpack("<L", end[at + 12 : at + 16].ljust(4, b"\xff"))
    if length > 2 * MOST_BYTES or size > MOST_ENTRIES * 300 or end[max(0, at - 20) : at][:4] == b"PK\x06\x07":
        raise HashzooError(f"{path} is larger, or has more entries, than a bundle may; {GET_ANEW}")


def _check_files(folder: Path, about: dict[str, Any]) -> None:
    there = listing(folder) - {ABOUT, README}
    listed = set(about["files"])
    for what, names in (("lacks", listed - there), ("has, and does not list,", there - listed)):
        if names:
            raise HashzooError(f"it {what} {min(names)}")
    for name, known in sorted(about["files"].items()):
        size = (folder / name).stat().st_size
        if size != known["bytes"] or file_digest(folder / name) != known["sha256"]:
            raise HashzooError(f"{name} is not the file that {ABOUT} lists")


def _check_run(track: Track, run: Path, name: str, shortened: list[str]) -> int | None:
    """How many numbers of a run were compared; None of one that failed. What is wrong is an error."""
    asked = read_record(run / "run.json", RUN, "its run.json must be whole")
    if asked["track"] != track.describe():
        raise HashzooError("it is of another track than its folder")
    whole = f"{name}/run.json" not in shortened  # where a path was shortened the key is that of the longer one
    if whole and asked["key"] != key_of({field: asked[field] for field in DESCRIPTION}):
        raise HashzooError("the key in run.json is not that of what it holds")
    if not (run / "result.json").exists():
        if not (run / "error.txt").exists():
            raise HashzooError("it has neither a result nor a reason why it failed")
        return None
    result = read_result(run / "result.json")
    encoders = {role: part["name"] for role, part in asked["encoders"].items()}
    same = all(result[field] == asked[field] for field in ("key", "method", "bits", "seed", "plugin"))
    if not same or result["encoders"] != encoders or run.parent.name != result["method"]:
        raise HashzooError("result.json and run.json are of different runs")
    for file, known in result.get("files", {}).items():
        if file in FILES and f"{name}/{file}" not in shortened:  # towers are not in a bundle
            check_files(run, {"files": {file: known}}, content=True)
    codes = load_codes(run / "codes.npz")
    for kind in NAMES:
        rows = track.counts["query" if kind.endswith("query") else "database"]
        if kind not in codes or (len(codes[kind]), codes[kind].bits) != (rows, result["bits"]):
            raise HashzooError(f"codes.npz does not hold {rows:,} codes '{kind}' of {result['bits']} bits")
    scores, per_query = score_run(track, run)
    by_role = {role: health(codes[f"{role}_database"]) for role in ("image", "text")}
    numbers = _compare("", {**scores, "health": by_role, "evaluator": ""}, {**result, "evaluator": ""})
    stored = read_arrays(run / "per_query.npz")
    for way, values in per_query.items():
        if way not in stored or stored[way].shape != values.shape or not np.allclose(stored[way], values, 0, SAME):
            raise HashzooError(f"the {way} precisions in per_query.npz are not those of its codes")
        numbers += len(values)
    return numbers


def _compare(at: str, here: Any, recorded: Any) -> int:
    """How many numbers were compared; one that is not there, or is another, is an error."""
    if isinstance(here, dict) and isinstance(recorded, dict):
        missing = next((name for name in here if name not in recorded), None)
        if missing is not None:
            raise HashzooError(f"its result has no {at}{missing}; it was scored by another version of hashzoo")
        return sum(_compare(f"{at}{name}.", value, recorded[name]) for name, value in here.items())
    if isinstance(here, list) and isinstance(recorded, list) and len(here) == len(recorded):
        return sum(_compare(f"{at}{number}.", *pair) for number, pair in enumerate(zip(here, recorded, strict=True)))
    number = isinstance(here, int | float) and not isinstance(here, bool)
    if number and isinstance(recorded, int | float) and abs(here - recorded) <= SAME:
        return 1
    if number or canonical_json(here) != canonical_json(recorded):
        was = f"{recorded:.6f}" if isinstance(recorded, float) else canonical_json(recorded)[:60]
        now = f"{here:.6f}" if isinstance(here, float) else canonical_json(here)[:60]
        raise HashzooError(f"the recorded {at.removesuffix('.')} is {was}, and its codes give {now}")
    return 0
