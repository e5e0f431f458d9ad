"""Repeats a recorded run, perhaps a stranger's, and says where it differs: what it was made from, codes, scores.

A record is data (see `hashzoo.benches.records`): its names are looked up among the parts that are installed here,
as those of `hashzoo bench` are.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from hashzoo import zoo
from hashzoo.benches.benchmark import Event
from hashzoo.benches.mirror import check_fresh, place_of
from hashzoo.benches.plan import OPENED, Plan, check_device, find_device, plan_of
from hashzoo.benches.records import DESCRIPTION, RUN, TRACK_FILE, key_of, read_record
from hashzoo.benches.reopening import Opened, opened_as
from hashzoo.benches.rounds import score_run
from hashzoo.benches.track import read_result
from hashzoo.codes import Codes, load_codes
from hashzoo.data.stream import Stream
from hashzoo.errors import HashzooError
from hashzoo.recipe import ROLES, Cell
from hashzoo.settings import text_of
from hashzoo.storage.files import canonical_json

ADVICE = "give a run folder of hashzoo bench, or the run.json in it"
# Scores of equal codes differ by no more: sums are taken in another order by another processor or numpy.
SAME = 1e-9


@dataclass(frozen=True)
class Record:
    """A run as it was recorded.

    Attributes:
        folder: in which run.json lies.
        about: what run.json holds.
        result: of the run; None where it failed, was not finished, or only run.json is there.
        opened: how its data set was opened, as far as it is known.
        codes: those of its query and database rows; None where there are none.
    """

    folder: Path
    about: dict[str, Any]
    result: dict[str, Any] | None
    opened: Opened
    codes: dict[str, Codes] | None

    @property
    def cell(self) -> Cell:
        encoders = "+".join(self.about["encoders"][role]["name"] for role in ROLES)
        return Cell(self.about["method"], encoders, self.about["bits"], self.about["seed"])


@dataclass(frozen=True)
class Difference:
    """One thing that is not as it was: None stands for what is absent.

    `what` is "version", "data", "plugin", "device", "threads", "encoder", "setting", "recipe", "code" or "score".
    """

    what: str
    name: str
    recorded: Any
    here: Any


@dataclass(frozen=True)
class Flips:
    """How the codes of one kind of rows differ.

    Attributes:
        name: "image_query" and such.
        rows: how many there are.
        rows_changed: in how many of them a bit differs.
        bits: by the number of a bit, counted from 0, in how many rows it differs, if in any.
    """

    name: str
    rows: int
    rows_changed: int
    bits: dict[int, int]


@dataclass
class Repetition:
    """What `repeat` found.

    Attributes:
        run: the folder of the repetition.
        failed: why it failed; "" if it did not.
        made: what it was made from that is not as it was.
        flips: codes that differ, and only those.
        other_rows: codes of which there are others here, or of another length: [rows, bits], there and here.
        bits_compared: of all codes of the record; 0: it holds none.
        scores: numbers of the result that differ by more than SAME.
        recorded_scores: numbers of the recorded result that its own codes do not give here. None: not looked at,
            because the record holds no codes, or they are of other data or of other rows.
    """

    run: str
    failed: str = ""
    made: list[Difference] = field(default_factory=list)
    flips: list[Flips] = field(default_factory=list)
    other_rows: list[Difference] = field(default_factory=list)
    bits_compared: int = 0
    scores: list[Difference] = field(default_factory=list)
    recorded_scores: list[Difference] | None = None

    @property
    def same(self) -> bool:
        """Whether codes and scores are those that were recorded."""
        return not (self.failed or self.flips or self.other_rows or self.scores or self.recorded_scores)

    def as_json(self) -> dict[str, Any]:
        return {"same": self.same, **asdict(self)}


def read_run(path: Path) -> Record:
    """A recorded run: of a folder, or of its run.json; what lies beside and above it is taken along.

    Raises:
        HashzooError: there is none, a field is missing, unknown or of a wrong type, or the key is not that of the rest.
    """
    path = Path(path)
    if path.is_dir():
        path = path / "run.json"
    if not path.is_file():
        raise HashzooError(f"there is no recorded run at {path}; {ADVICE}")
    about = read_record(path, RUN, ADVICE)
    if about["key"] != key_of({name: about[name] for name in DESCRIPTION}):
        raise HashzooError(f"{path} was changed: its key is not that of what it holds; {ADVICE}", exit_code=1)
    beside = {name: path.with_name(name) for name in ("result.json", "codes.npz")}
    result = read_result(beside["result.json"]) if beside["result.json"].exists() else None
    if result is not None and result["key"] != about["key"]:
        raise HashzooError(f"the result.json beside {path} is that of another run; {ADVICE}", exit_code=1)
    codes = load_codes(beside["codes.npz"]) if beside["codes.npz"].exists() else None
    return Record(path.parent, about, result, _opened(path.parent, about), codes)


def repeat(
    record: Record,
    *,
    runs: str | os.PathLike[str],
    device: str | None = None,
    dataset: str | None = None,
    settings: Iterable[str] = (),
    batch_size: int | None = None,
    fresh: bool = False,
    watch: Callable[[Event], None] = lambda event: None,
) -> Repetition:
    """Train a recorded run again, and compare.

    Args:
        record: what `read_run` gives.
        runs: the folder or address that keeps the repetition; a finished one is reused. Not that of the record.
        device: "cpu", "cuda" and such; None is the kind of device that the run was made on.
        dataset: the name of its data set here, if it has another: "table:/elsewhere/photos.csv".
        settings: such as "image.weights=/elsewhere/weights.safetensors"; they win over those of the record.
        batch_size: rows that an encoder takes at once where features are computed; None is what suits the device.
        fresh: train again although the repetition is there.
        watch: is told how far it is.

    Raises:
        HashzooError: something that the run was made of is not installed, cannot be opened, or refuses a setting.
    """
    check_fresh(os.fspath(runs), fresh)
    if record.folder.resolve().is_relative_to(place_of(os.fspath(runs))[0].resolve()):
        raise HashzooError(
            f"the repetition of {record.folder} would be written over it; name another folder, such as --runs repeated"
        )
    plan = _plan(record, os.fspath(runs), device, dataset, list(settings), batch_size)
    cell = record.cell
    plan.check()
    plan.open()
    tell = functools.partial(_tell, watch, cell)
    tell("start", {})
    result = plan.train(cell, fresh, functools.partial(tell, "epoch"))
    tell("done", result)
    found = Repetition(result["run"])
    found.made = list(_made(record.about, read_record(Path(result["run"]) / "run.json", RUN)))
    if result["status"] != "ok":
        found.failed = result["reason"]
        return found
    if record.result is not None:
        found.scores = list(compare_scores(record.result, result))
    if record.codes is not None:
        found.flips, found.other_rows = compare_codes(record.codes, load_codes(Path(result["run"]) / "codes.npz"))
        found.bits_compared = sum(len(codes) * codes.bits for codes in record.codes.values())
        scorable = not found.other_rows and plan.track.describe() == record.about["track"]
        if record.result is not None and scorable:
            scores, _ = score_run(plan.track, record.folder)
            found.recorded_scores = list(compare_scores(record.result, scores))
    return found


def compare_codes(recorded: Mapping[str, Codes], here: Mapping[str, Codes]) -> tuple[list[Flips], list[Difference]]:
    """Which bits of which rows differ; and codes that cannot be compared: their rows and bits, there and here."""
    flips, others = [], []
    for name in sorted({*recorded, *here}):
        shapes = [[len(codes[name]), codes[name].bits] if name in codes else None for codes in (recorded, here)]
        if shapes[0] != shapes[1]:
            others.append(Difference("code", name, *shapes))
            continue
        one, other = recorded[name], here[name]
        differing = Codes(one.data ^ other.data, one.bits).unpack()
        if differing.any():
            counts = differing.sum(axis=0)
            places = {int(bit): int(counts[bit]) for bit in np.flatnonzero(counts)}
            flips.append(Flips(name, len(one), int(differing.any(axis=1).sum()), places))
    return flips, others


def compare_scores(recorded: Mapping[str, Any], here: Mapping[str, Any]) -> Iterable[Difference]:
    """Scores, floor, ceiling and rounds of two results, number by number, where they differ by more than SAME."""
    parts = ("scores", "floor", "ceiling", "mean_over_rounds")
    one, other = (_numbers({name: result[name] for name in parts if name in result}) for result in (recorded, here))
    for name in dict.fromkeys((*one, *other)):
        was, now = one.get(name), other.get(name)
        if was is None or now is None or not abs(was - now) <= SAME:
            yield Difference("score", name, was, now)


def _plan(
    record: Record, runs: str, device: str | None, dataset: str | None, typed: list[str], batch_size: int | None
) -> Plan:
    """The plan of the one cell; defaults that are others here are set as the run had them."""
    about, track = record.about, record.about["track"]
    zoo.load().find("method", about["method"])
    if device is None:
        device = _device_of(record)
    check_device(device)
    arrival = {one.name: track["stream"][one.name] for one in fields(Stream)} if track.get("stream") else None
    harder = track.get("training", {}).get("settings", {})
    settings = [
        *record.opened.settings,
        *(f"train_data.{name}={text_of(value)}" for name, value in harder.items()),
        *(f"{path}={text_of(one['value'])}" for path, one in about["settings"].items() if one["origin"] == "user"),
    ]
    make = functools.partial(
        plan_of,
        [record.cell],
        dataset or record.opened.name,
        runs=runs,
        device=device,
        threads=about["threads"],
        batch_size=batch_size,
        allow_overlap=bool(track.get("overlap")),
        fold=record.opened.fold,
        stream=Stream(**arrival) if arrival else None,
    )
    plan = make(settings=[*settings, *typed])
    now = plan.recipe(record.cell).settings()
    others = [
        f"{path}={text_of(one['value'])}"
        for path, one in about["settings"].items()
        if path in now and one["origin"] != "user" and not _equal(one["value"], now[path]["value"])
    ]
    return make(settings=[*settings, *others, *typed], like=plan) if others else plan


def _device_of(record: Record) -> str:
    """The kind of device that a run was made on, if this machine has one."""
    made_on = record.about["device"]
    if made_on == "cpu":
        return "cpu"
    try:
        find_device("cuda")
    except HashzooError as error:
        raise HashzooError(
            f"{record.folder} was made on {made_on}, and torch sees no GPU here; type --device cpu"
        ) from error
    return "cuda"


def _opened(folder: Path, about: Mapping[str, Any]) -> Opened:
    """How the data set was opened: dataset.json of the track's folder says it or, where there is none, run.json."""
    track, place = about["track"], folder.resolve().parent.parent
    if (place / "track.json").exists() and read_record(place / "track.json", TRACK_FILE) == {"schema": 1, **track}:
        known = opened_as(place)
        if known is not None:
            return known
    if track.get("fold"):
        raise HashzooError(
            f"{folder} is a fold of a cross-validation, of which only {OPENED} knows the seed; give the run folder "
            f"inside the runs folder that it was made in"
        )
    typed = {path: one["value"] for path, one in about.get("dataset_settings", {}).items() if one["origin"] == "user"}
    return Opened(track["dataset"], tuple(f"{path}={text_of(value)}" for path, value in typed.items()))


def _tell(watch: Callable[[Event], None], cell: Cell, kind: str, content: dict[str, Any]) -> None:
    watch(Event(kind, 1, 1, cell, content))


def _made(recorded: Mapping[str, Any], here: Mapping[str, Any]) -> Iterable[Difference]:
    """What two runs were made from, where it differs: versions first, as most differences come from them."""
    parts: tuple[tuple[str, Callable[[Mapping[str, Any]], Any]], ...] = (
        ("version", lambda about: about["versions"]),
        ("data", lambda about: about["track"]),
        ("plugin", lambda about: about["plugins"]),
        ("device", lambda about: {"": about["device"]}),
        ("threads", lambda about: {"": about["threads"]}),
        ("encoder", lambda about: about["encoders"]),
        ("setting", lambda about: {path: one["value"] for path, one in about["settings"].items()}),
        ("recipe", lambda about: about["recipe"]),
    )
    for what, part in parts:
        one, other = _leaves(part(recorded)), _leaves(part(here))
        for name in dict.fromkeys((*one, *other)):
            if name not in one or name not in other or not _equal(one[name], other[name]):
                was, now = one.get(name), other.get(name)
                yield Difference(what, name, was, now)


def _leaves(value: Any, at: str = "") -> dict[str, Any]:
    """{"a": {"b": 1}} as {"a.b": 1}; lists are leaves."""
    if not isinstance(value, Mapping):
        return {at: value}
    found: dict[str, Any] = {}
    for name, one in value.items():
        found |= _leaves(one, f"{at}.{name}" if at else str(name))
    return found


def _numbers(value: Any, at: str = "") -> dict[str, float]:
    """All numbers of a nested value by where they stand: "scores.i2t.map", "scores.i2t.top_n_precision.n[3]"."""
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return {}
    if isinstance(value, int | float):
        return {at: value}
    inside = (
        ((f"{at}.{name}" if at else str(name), one) for name, one in value.items())
        if isinstance(value, Mapping)
        else ((f"{at}[{number}]", one) for number, one in enumerate(value))
    )
    found: dict[str, float] = {}
    for name, one in inside:
        found |= _numbers(one, name)
    return found


def _equal(one: Any, other: Any) -> bool:
    return canonical_json(one) == canonical_json(other)
