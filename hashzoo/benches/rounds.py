"""The rounds of an online run: their codes on disk, and the scores of each on the database as it was then.

rounds.json     how the method was trained, and what each round took
rounds.npz      the codes of a round that are not those of the last: "image_query_1", "text_database_3", ...
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hashzoo.benches.records import ROUNDS, read_record
from hashzoo.benches.track import DIRECTIONS, Track
from hashzoo.codes import Codes, load_codes, save_codes
from hashzoo.errors import HashzooError
from hashzoo.storage.files import write_json

NAMES = tuple(f"{role}_{split}" for role in ("image", "text") for split in ("query", "database"))


def changed(rounds: Sequence[Mapping[str, Codes]]) -> dict[str, Codes]:
    """The codes of a round, by "name_number", that are not the first so many of the last round."""
    return {
        f"{name}_{number}": codes[name]
        for number, codes in enumerate(rounds[:-1], 1)
        for name in NAMES
        if not np.array_equal(codes[name].data, rounds[-1][name].data[: len(codes[name])])
    }


def score_rounds(
    track: Track, last: Mapping[str, Codes], changed: Mapping[str, Codes], about: Mapping[str, Any]
) -> dict[str, Any]:
    """mAP of both directions after each round, on the rows that were there and the queries that were asked.

    A query is asked from the first round on or, where chunks are made by classes, as soon as all its labels are known.

    Args:
        track: of an online run.
        last: the codes of the last round, as `fitting.encode_rows` names them.
        changed: those of earlier rounds, as `changed` gives them.
        about: what rounds.json holds.

    Returns:
        what a result holds beside the scores of the last round, as plain JSON: "rounds", "mean_over_rounds", and how
        the codes of the database were made.
    """
    from hashzoo.evaluator import evaluate, floor

    asked_from = first_rounds(track)
    scored = []
    for number, (rows, cost) in enumerate(zip(track.stream["rows"], about["rounds"], strict=True), 1):
        asked = asked_from <= number
        line = {"round": number, "rows": rows, "queries": int(asked.sum())}
        labels = track.query_labels[asked], track.database_labels[:rows]
        if asked.any():
            maps = {}
            for direction, (query, database) in DIRECTIONS.items():
                queries = changed.get(f"{query}_query_{number}", last[f"{query}_query"])[asked]
                items = changed.get(f"{database}_database_{number}", last[f"{database}_database"][:rows])
                maps[direction] = evaluate(queries, items, *labels, protocol=track.protocol, metrics=["map"]).map
            line |= {"map": maps, "floor": floor(*labels)}
        scored.append(line | dict(cost))
    means = {
        direction: float(np.mean([line["map"][direction] for line in scored if "map" in line]))
        for direction in DIRECTIONS
    }
    return {
        "old_codes": about["old_codes"],
        "learned_codes": about["learned_codes"],
        "rounds": scored,
        "mean_over_rounds": means,
    }


def first_rounds(track: Track) -> np.ndarray:
    """(Q,) the round from which on each query is asked, counted from 1."""
    first = np.ones(len(track.query_labels), dtype=np.int64)
    for number, columns in enumerate(track.stream.get("labels", []), 1):
        first[track.query_labels[:, columns].any(axis=1)] = number
    return first


def save_rounds(folder: Path, changed: Mapping[str, Codes], about: Mapping[str, Any]) -> None:
    """Keep what `score_run` reads, beside codes.npz."""
    if changed:
        save_codes(folder / "rounds.npz", **changed)
    write_json(folder / "rounds.json", about)


def score_run(track: Track, folder: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Every metric of a run from its stored codes; of an online run in every round.

    Returns:
        What a result holds, as plain JSON, and each query's average precision; see `Track.score`.
    """
    codes = load_codes(folder / "codes.npz")
    missing = next((name for name in NAMES if name not in codes), None)
    if missing is not None:
        raise HashzooError(f"{folder / 'codes.npz'} holds no {missing}; the same bench makes it again", exit_code=1)
    scores, per_query = track.score(codes)
    if track.stream:
        path = folder / "rounds.npz"
        try:
            scores |= score_rounds(
                track,
                codes,
                load_codes(path) if path.exists() else {},
                read_record(path.with_suffix(".json"), ROUNDS),
            )
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise HashzooError(f"the rounds in {folder} are damaged ({error}); run again", exit_code=1) from error
    return scores, per_query
