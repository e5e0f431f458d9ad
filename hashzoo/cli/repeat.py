"""`hashzoo bench --from RUN`."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Iterable
from typing import Any

import typer

from hashzoo.cli.common import console, print_json
from hashzoo.errors import HashzooError

# What may be said beside --from: where, on what and under which names; all else is as it was.
BESIDE = ("source", "runs", "device", "dataset", "settings", "batch_size", "fresh", "json")
SHOWN = 10  # lines of each kind
RUNS = "repeated"


def repeat(source: str, typed: Iterable[str], options: dict[str, Any], fresh: bool, json: bool) -> None:
    """Repeat a recorded run and say where it differs; exit code 1 where codes or scores do.

    Args:
        source: the run, a folder, its run.json, or an address.
        typed: names of the parameters that were typed.
        options: of `reproduction.repeat`; those that were not typed are left out.
    """
    from hashzoo.benches import reproduction
    from hashzoo.benches.mirror import run_folder
    from hashzoo.cli.watch import Watch

    refused = next((name for name in typed if name not in BESIDE), None)
    if refused is not None:
        what = "the bench file" if refused == "file" else f"--{refused.replace('_', '-')}"
        raise HashzooError(f"--from repeats a run as it was; leave {what} out")
    record = reproduction.read_run(run_folder(source))
    given = {name: value for name, value in options.items() if name in typed}
    with Watch(console(stderr=True)) as watch, contextlib.redirect_stdout(sys.stderr):
        found = reproduction.repeat(record, **{"runs": RUNS, **given}, fresh=fresh, watch=watch)
    if json:
        print_json({"schema": 1, "recorded": str(record.folder), **found.as_json()})
    else:
        _print(record, found)
    if not found.same:
        raise typer.Exit(1)


def _print(record: Any, found: Any) -> None:
    cell = record.cell
    print(f"{cell.method}, {cell.encoders}, {cell.bits} bits, seed {cell.seed}, again in {found.run}")
    if found.failed:
        print(f"it failed: {found.failed}")
    if not found.made:
        print("made from the same data, sources, settings and versions, on the same kind of device")
    else:
        print("made from something else:")
        _list([f"{' '.join(filter(None, (one.what, one.name)))}: {_values(one)}" for one in found.made])
    if found.failed:
        return
    for one in found.other_rows:
        was, now = (f"{v[0]:,} rows of {v[1]} bits" if v else "absent" for v in (one.recorded, one.here))
        print(f"codes of {one.name} cannot be compared: {was} there, {now} here")
    if not found.bits_compared:
        print("codes: the record holds none")
    elif found.flips:
        changed = sum(count for one in found.flips for count in one.bits.values())
        print(f"codes: {changed:,} of {found.bits_compared:,} bits differ")
        _list([_flips(one) for one in found.flips])
    elif not found.other_rows:
        print(f"codes: all {found.bits_compared:,} bits are the same")
    _scores("scores", found.scores if record.result else None, "the record holds none", "all numbers are the same")
    if found.recorded_scores:
        _scores("the recorded scores are not those of the recorded codes", found.recorded_scores, "", "")


def _flips(one: Any) -> str:
    bits = ", ".join(f"{bit} ({count:,})" for bit, count in list(one.bits.items())[:SHOWN])
    more = f" and {len(one.bits) - SHOWN} more" if len(one.bits) > SHOWN else ""
    return f"{one.name}: in {one.rows_changed:,} of {one.rows:,} rows; bits, with how many rows: {bits}{more}"


def _scores(what: str, found: Any, without: str, same: str) -> None:
    if not found:
        print(f"{what}: {without if found is None else same}")
        return
    print(f"{what}: {len(found):,} numbers differ")
    main = [one for one in found if one.name.endswith(".map")]
    _list([f"{one.name}: {_values(one)}" for one in (*main, *(one for one in found if one not in main))])


def _list(lines: list[str]) -> None:
    for line in lines[:SHOWN]:
        print(f"  {line}")
    if len(lines) > SHOWN:
        print(f"  and {len(lines) - SHOWN} more; --json has all")


def _values(one: Any) -> str:
    was, now = ("absent" if value is None else _value(value) for value in (one.recorded, one.here))
    return f"{was} there, {now} here"


def _value(value: Any) -> str:
    text = f"{value:.6f}" if isinstance(value, float) else str(value)
    if re.fullmatch("[0-9a-f]{64}", text):
        return text[:8]  # as digests are shown elsewhere
    return text if len(text) <= 60 else f"{text[:57]}..."
