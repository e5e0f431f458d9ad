"""The JSON files of a runs folder: which fields each has, read from disk and from strangers alike.

A file is data. Nothing in it is imported, and nothing is made of it before it has its shape
(see `hashzoo.storage.shapes`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hashzoo.errors import HashzooError
from hashzoo.storage.files import digest, file_digest, read_json
from hashzoo.storage.shapes import ANY, LINE, Each, Fields, Just, ListOf, Number, Real, check

# By a run, before its result; the last two of an online run alone.
WRITTEN = ("train.jsonl", "model.safetensors", "codes.npz", "per_query.npz", "rounds.json", "rounds.npz")
MOST_BYTES = 2**26  # of one file; those of real runs have some 20,000
MAX_BITS, MAX_THREADS, MAX_SEED = 4096, 1024, 2**32 - 1

_SETTING = (None, bool, int, float, str, ListOf(ANY), Each(ANY))
_ORIGIN = Fields({"value": _SETTING, "origin": LINE})
_PLUGIN = {"distribution": LINE, "version": LINE, "digest": LINE}
_COUNT = Number(0, 2**48)
_WIDTH = (_COUNT, ListOf(_COUNT, 2))  # of a vector, or tokens and width of a sequence
_STREAM = {"chunk": Number(1, MAX_SEED), "by": LINE, "order_seed": Number(0, MAX_SEED), "database_codes": LINE}
# What is measured: sums and squares of it stay numbers.
_MEASURED = Real(-1e15, 1e15)
_MAPS = Fields({"i2t": _MEASURED, "t2i": _MEASURED})

# What `Track.describe` gives: two runs are comparable if it is equal.
TRACK = Fields(
    {
        **{"dataset": LINE, "fingerprint": LINE, "splits": LINE, "rule": LINE, "protocol": LINE},
        "counts": Fields({"train": _COUNT, "query": _COUNT, "database": _COUNT, "labels": _COUNT}, {"val": _COUNT}),
    },
    {
        "overlap": LINE,
        "training": Fields({"settings": Each(float), "changed": ANY, "digest": LINE}),
        "stream": Fields({**_STREAM, "rows": ListOf(_COUNT)}, {"labels": ListOf(ListOf(_COUNT))}),
        "fold": Fields({"number": Number(1, 100), "of": Number(2, 100), "partition": LINE}),
    },
)
TRACK_FILE = Fields({"schema": Number(1, 1), **TRACK.required}, TRACK.optional)

# What `run.describe` gives, the preimage of the key, and beside it what is no part of the key.
DESCRIPTION = {
    **{"schema": Number(1, 1), "track": TRACK, "method": LINE},
    "recipe": Fields({"heads": ListOf(LINE, 2), "loss": LINE, "trainer": LINE}, {"trained": LINE}),
    "encoders": Fields(
        {role: Fields({"name": LINE, "card": Each(ANY)}) for role in ("image", "text")},
        others=True,
    ),
    "settings": Each(_ORIGIN),
    "bits": Number(1, MAX_BITS),
    "seed": Number(0, MAX_SEED),
    "plugins": Each(Fields(_PLUGIN)),
    "device": LINE,
    "threads": Number(1, MAX_THREADS),
    "versions": Each(LINE),
}
RUN = Fields(
    {**DESCRIPTION, "key": LINE, "request": LINE, "plugin": Fields({"name": LINE, **_PLUGIN})},
    {"dataset_settings": Each(_ORIGIN), "classes": ListOf(str), "widths": Each(Each(_WIDTH))},
)

_HEALTH = Fields({"rows": _COUNT, "bits": _COUNT, "constant_bits": _COUNT}, others=True)
_ROUND = Fields(
    {"round": _COUNT, "rows": _COUNT, "queries": _COUNT},
    {
        **{"map": _MAPS, "floor": _MEASURED, "state_bytes": _COUNT},
        "seconds": Fields({}, {"train": _MEASURED}, others=True),
    },
    others=True,
)
_COST = Fields({"parameters": _COUNT, "macs": _COUNT}, others=True)
# New fields of a result may come at any time.
RESULT = Fields(
    {
        **{"schema": Number(1, 1), "key": LINE, "request": LINE, "method": LINE},
        "status": Just("ok"),  # a run that failed has an error.txt instead
        "encoders": Fields({"image": LINE, "text": LINE}, others=True),
        "settings": Each(_SETTING),
        "bits": Number(1, MAX_BITS),
        "seed": Number(0, MAX_SEED),
        "plugin": Fields({"name": LINE, **_PLUGIN}),
        "scores": Fields({way: Fields({"map": _MEASURED}, others=True) for way in ("i2t", "t2i")}, others=True),
        "floor": _MEASURED,
        "ceiling": _MEASURED,
        "health": Fields({"image": _HEALTH, "text": _HEALTH}),
        "seconds": Fields({"train": _MEASURED}, others=True),
        "evaluator": LINE,
    },
    {
        "random_weights": ListOf(LINE),
        "train_data": Each(float),
        "cost": Fields({"image": _COST, "text": _COST}),
        "taken_over": _MEASURED,
        "rounds": ListOf(_ROUND),
        "mean_over_rounds": _MAPS,
        **{"trained": LINE, "old_codes": LINE, "learned_codes": bool},
        "files": Each(Fields({"bytes": _COUNT, "sha256": LINE})),
    },
    others=True,
)
# How a bench opened the data set of a track.
OPENED = Fields({"schema": Number(1, 1), "name": LINE, "settings": ListOf(LINE), "fold": (None, ListOf(int, 3))})
# What an online run keeps of its rounds.
ROUNDS = Fields({"old_codes": LINE, "learned_codes": bool, "rounds": ListOf(Each(ANY))})


def read_record(path: Path, shape: Fields, advice: str = "delete it and run again") -> dict[str, Any]:
    """The content of a JSON file of a runs folder.

    Raises:
        HashzooError: it is no JSON, too large, or has not the shape.
    """
    try:
        size = path.stat().st_size
    except OSError:
        size = 0  # reading it says why it cannot be read
    if size > MOST_BYTES:
        raise HashzooError(f"{path} is damaged (it has {size:,} bytes); {advice}", exit_code=1)
    found = read_json(path, advice)
    try:
        check(found, shape)
    except ValueError as error:
        raise HashzooError(f"{path} is damaged ({error}); {advice}", exit_code=1) from error
    return dict(found)


def files_of(folder: Path) -> dict[str, dict[str, Any]]:
    """What a result says of the files that its run wrote before it: size and SHA-256."""
    paths = [folder / name for name in WRITTEN]
    there = [path for path in paths if path.exists()]
    return {path.name: {"bytes": path.stat().st_size, "sha256": file_digest(path)} for path in there}


def check_files(folder: Path, result: Mapping[str, Any], content: bool = False) -> None:
    """Raise HashzooError unless the files of a finished run are those that it wrote, by size, or by their content.

    Results of an older hashzoo say nothing of files, and are taken at their word.
    """
    for name, known in result.get("files", {}).items():
        path = folder / Path(name).name
        try:
            same = path.stat().st_size == known["bytes"] and (not content or file_digest(path) == known["sha256"])
        except OSError:
            same = False
        if not same:
            raise HashzooError(f"{path} is not the file that the run wrote; the same bench makes it again", exit_code=1)


def key_of(description: Mapping[str, Any]) -> str:
    """The content key of a run, from what DESCRIPTION names: where settings came from does not count."""
    values = {name: setting["value"] for name, setting in description["settings"].items()}
    return digest({**description, "settings": values})
