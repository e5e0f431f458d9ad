"""What each row of a table finds for some queries: the ten nearest pictures of a text, and texts of a picture.

The queries are drawn with a fixed seed before any code is looked at, and the same ones are shown for every row.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hashzoo.benches.reopening import reopen
from hashzoo.benches.track import DIRECTIONS, Track
from hashzoo.codes import Codes, load_codes
from hashzoo.data import Dataset
from hashzoo.errors import HashzooError, one_line
from hashzoo.report.html.pictures import LIMIT, Pictures, Thumbnail, thumbnail
from hashzoo.report.table import DIRECTION_NAMES, label_of
from hashzoo.search.exact import ExactIndex

SEED = 0
TOP = 10
TIES_COUNTED = 1000  # further rows at the distance of the last one shown, counted up to here
MOST_ROWS = 12  # of a table, in a gallery
LONGEST_TEXT = 300  # characters of a text that are shown


@dataclass(frozen=True)
class Item:
    """A row of the data set: its text, perhaps cut, and its labels; `picture` is an id, "" where none is shown."""

    row: int
    text: str
    labels: tuple[str, ...]
    picture: str


@dataclass(frozen=True)
class Place:
    """One of the nearest: right if it shares a label with the query; `distance` in bits."""

    item: Item
    distance: int
    right: bool


@dataclass(frozen=True)
class Ranking:
    """The places that one row of the table gives a query, nearest first, and what it says of them.

    `tied` counts the rows at the distance of the last place that are not shown, up to TIES_COUNTED.
    """

    label: str
    places: tuple[Place, ...]
    tied: int

    @property
    def right(self) -> int:
        return sum(place.right for place in self.places)


@dataclass(frozen=True)
class Query:
    """A query, how many database rows share a label with it, and a ranking of each row of the table."""

    item: Item
    relevant: int
    rankings: tuple[Ranking, ...]


@dataclass(frozen=True)
class Gallery:
    """Queries of one track in both directions, at one code length, and how they were chosen, in sentences.

    `shows` is what stands in for a query and for its results in each direction: "image" or "text".
    """

    bits: int
    queries: dict[str, tuple[Query, ...]]
    chosen: tuple[str, ...]
    shows = DIRECTIONS
    directions = DIRECTION_NAMES


def make_gallery(results: Sequence[dict[str, Any]], count: int, pictures: Pictures) -> Gallery:
    """The gallery of one track.

    Args:
        results: of `collect`, all of one track.
        count: queries of each direction, at least 1; fewer where there are fewer, or no room for their pictures.
        pictures: of the page; those of the gallery are added.

    Raises:
        HashzooError: the data set cannot be opened here, is not that of the track, or has no pictures or no texts;
            or there are no codes.
    """
    folder = Path(results[0]["run"]).parents[1]
    track = Track.load(folder)
    chosen = _runs(results)
    codes = {label: load_codes(Path(run["run"]) / "codes.npz") for label, run in chosen.items()}
    dataset = reopen(folder, track)
    lacking = sorted({"image", "text"} - set(dataset.raw))
    if lacking:
        raise HashzooError(f"'{dataset.name}' has no {lacking[0]}s, only their features", exit_code=1)
    positions = draw_queries(len(track.query_labels), count)
    found = _rank_all(track, dataset.splits.database, codes, positions)
    shown: dict[str, list[Query]] = {direction: [] for direction in DIRECTIONS}
    for position in positions:
        row = int(dataset.splits.query[position])
        as_texts, as_pictures = ({row, *found[direction, position].rows()} for direction in ("i2t", "t2i"))
        items, thumbnails = _items(dataset, as_texts | as_pictures, as_pictures)
        if not pictures.keep(thumbnails):
            break
        for direction in DIRECTIONS:
            shown[direction].append(found[direction, position].shown(row, items))
    if not shown["i2t"]:
        raise HashzooError("the page has no room for further pictures")
    return Gallery(
        next(iter(chosen.values()))["bits"],
        {direction: tuple(queries) for direction, queries in shown.items()},
        tuple(_said(results, chosen, len(shown["i2t"]), len(positions), len(track.query_labels))),
    )


def draw_queries(queries: int, count: int, seed: int = SEED) -> list[int]:
    """Positions of `count` queries, drawn without looking at anything else; more of them begin with the same ones."""
    # numpy promises that the raw stream of a bit generator never changes for a seed.
    return np.argsort(np.random.PCG64(seed).random_raw(queries), kind="stable")[:count].tolist()


@dataclass(frozen=True)
class _Found:
    """What every row of the table finds for one query, as row numbers."""

    relevant: np.ndarray  # row numbers, ascending
    hits: dict[str, tuple[list[int], list[int], int]]  # by label: rows, distances, further rows at the last distance

    def rows(self) -> Iterator[int]:
        return (row for rows, _, _ in self.hits.values() for row in rows)

    def shown(self, row: int, items: dict[int, Item]) -> Query:
        right = set(self.relevant.tolist())
        rankings = tuple(
            Ranking(label, tuple(Place(items[r], d, r in right) for r, d in zip(rows, far, strict=True)), tied)
            for label, (rows, far, tied) in self.hits.items()
        )
        return Query(items[row], len(right), rankings)


def _runs(results: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """By row of the table one run: all of one code length, the longest of those that most rows have, least seed."""
    kept: dict[tuple[int, str], dict[str, Any]] = {}
    for result in sorted((r for r in results if r["status"] == "ok"), key=lambda r: r["seed"]):
        kept.setdefault((result["bits"], label_of(result, results)), result)
    if not kept:
        raise HashzooError("no run of this track is finished")
    rows = Counter(bits for bits, _ in kept)
    bits = max(rows, key=lambda length: (rows[length], length))
    chosen = {label: result for (length, label), result in kept.items() if length == bits}
    best = sorted(chosen, key=lambda label: -_mean_map(chosen[label]))[:MOST_ROWS]
    order = dict.fromkeys(label_of(result, results) for result in results)
    return {label: chosen[label] for label in order if label in best}


def _mean_map(result: dict[str, Any]) -> float:
    return statistics.fmean(result["scores"][direction]["map"] for direction in DIRECTIONS)


def _rank_all(
    track: Track, database: np.ndarray, codes: dict[str, dict[str, Codes]], positions: list[int]
) -> dict[tuple[str, int], _Found]:
    """The nearest of each query by direction and position; ties in the order of row numbers."""
    found = {}
    labels = track.query_labels[positions]
    for position, own in zip(positions, labels, strict=True):
        relevant = np.sort(database[(track.database_labels & own).any(axis=1)])
        for direction in DIRECTIONS:
            found[direction, position] = _Found(relevant, {})
    for label, packed in codes.items():
        for direction, (query, answers) in DIRECTIONS.items():
            index = ExactIndex(packed[f"{answers}_database"].bits)
            index.add(packed[f"{answers}_database"], database)
            hits = index.search(packed[f"{query}_query"][np.array(positions)], min(TOP + TIES_COUNTED, len(database)))
            for position, rows, far in zip(positions, hits.ids, hits.distances, strict=True):
                tied = int((far[TOP:] == far[:TOP][-1]).sum())
                found[direction, position].hits[label] = rows[:TOP].tolist(), far[:TOP].tolist(), tied
    return found


def _items(dataset: Dataset, rows: set[int], pictured: set[int]) -> tuple[dict[int, Item], list[Thumbnail]]:
    """Rows as the gallery shows them, and the thumbnails of those that are shown as pictures."""
    items, thumbnails = {}, []
    for row in sorted(rows):
        picture = ""
        try:
            text = dataset.text(row)
            if row in pictured:
                thumbnails.append(thumbnail(dataset.image(row)))
                picture = thumbnails[-1].id
        except Exception as error:  # a data set is a plugin's code
            raise HashzooError(f"row {row} of '{dataset.name}' cannot be read: {one_line(error)}") from error
        cut = text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]}…"
        names = tuple(dataset.classes[column] for column in np.flatnonzero(dataset.labels[row]))
        items[row] = Item(row, cut, names, picture)
    return items, thumbnails


def _said(
    results: Sequence[dict[str, Any]], chosen: dict[str, dict[str, Any]], shown: int, asked: int, queries: int
) -> Iterator[str]:
    yield (
        f"{shown} of {queries:,} queries, drawn at random with seed {SEED} and not picked by what is found; "
        f"the same in both directions."
    )
    if shown < asked:
        yield f"{asked - shown} more were asked for, and would make the page hold over {LIMIT:,} bytes of pictures."
    seeds = sorted({run["seed"] for run in chosen.values()})
    yield (
        f"{next(iter(chosen.values()))['bits']} bits, the longest code that most rows of the table have; "
        f"{'seed' if len(seeds) == 1 else 'seeds'} {', '.join(map(str, seeds))}, the least of each row."
    )
    others = {label_of(result, results) for result in results} - set(chosen)
    if others:
        yield f"{len(others)} rows of the table are not shown: they lack this code length, or {MOST_ROWS} score better."
    yield "Nearest first; of equal distances the smaller row number. Right: it shares a label with the query."
