"""What a table says of an online track: how methods were trained, and what a round takes."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

OFFLINE = " (offline)"


def title(track: Mapping[str, Any], over_rounds: bool) -> str:
    """What follows the title: which rounds the numbers are of."""
    count = len(track["stream"]["rows"])
    return f", mean of {count} rounds" if over_rounds else f", last of {count} rounds"


def mark(result: Mapping[str, Any]) -> str:
    """Stands behind the name of a method that was trained on all chunks together."""
    return OFFLINE if result.get("trained") == "offline" else ""


def spent(group: Iterable[Mapping[str, Any]]) -> str:
    """Mean seconds of training a round; of a method that is trained once, those, with a word that says so."""
    done = [result for result in group if result["status"] == "ok"]
    if not done:
        return ""
    if mark(done[0]):
        return f"{statistics.fmean(result['seconds']['train'] for result in done):.1f} once"
    lines = [line for result in done for line in result["rounds"]]
    rounds = [line["seconds"]["train"] for line in lines if "train" in line.get("seconds", {})]
    return f"{statistics.fmean(rounds):.2f}" if rounds else ""


def notes(results: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Sentences on what rows of a table must not be compared without."""
    done = [result for result in results if result["status"] == "ok" and "rounds" in result]
    if any(mark(result) for result in done):
        yield f"{OFFLINE.strip()}: trained once, on the rows of all chunks; it knows in the first round what is to come"
    for method in sorted({result["method"] for result in done if result["learned_codes"]}):
        yield (
            f"{method}: the database holds the codes that it learned for its rows while training, not those of its "
            f"towers; --database-codes kept compares towers alone"
        )
