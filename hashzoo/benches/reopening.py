"""Opens the data set of a track again: as the bench that made the runs named it, and only if it is the same."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

from hashzoo.benches.plan import OPENED
from hashzoo.benches.records import OPENED as SHAPE
from hashzoo.benches.records import read_record
from hashzoo.benches.track import Track
from hashzoo.data import Dataset
from hashzoo.data.folds import InFold
from hashzoo.data.stream import Stream
from hashzoo.errors import HashzooError
from hashzoo.opening import open_dataset
from hashzoo.settings import parse_assignments


@dataclass(frozen=True)
class Opened:
    """How a bench opened the data set of a track.

    Attributes:
        name: as typed.
        settings: "dataset.size=64" and such, as typed.
        fold: number, number of folds and seed, where the track is one of a cross-validation.
    """

    name: str
    settings: tuple[str, ...] = ()
    fold: tuple[int, int, int] | None = None


def opened_as(folder: Path) -> Opened | None:
    """What was kept in a track's folder.

    None where nothing was: the data set was given as an object, or the bench is older than this record.
    """
    path = folder / OPENED
    if not path.exists():
        return None
    kept = read_record(path, SHAPE, "delete it, and the same bench writes it again")
    fold = tuple(kept["fold"]) if kept["fold"] else None
    return Opened(kept["name"], tuple(kept["settings"]), fold)


def reopen(folder: Path, track: Track) -> Dataset:
    """The data set of a track's folder; by the track's name where it is not known how it was opened.

    Raises:
        HashzooError: it cannot be opened here, or its content or its splits are not those of the track.
    """
    opened = opened_as(folder) or Opened(track.dataset)
    dataset = open_dataset(opened.name, parse_assignments(opened.settings, [], ["dataset"]))
    if opened.fold:
        dataset = InFold(dataset, *opened.fold)
    if track.stream:
        asked = {field.name: track.stream[field.name] for field in fields(Stream)}
        dataset, _ = Stream(**asked).arrange(dataset)
    digests = {"content": dataset.fingerprint(), "splits": dataset.splits.digest()}
    for what, wanted in (("content", track.fingerprint), ("splits", track.splits)):
        if digests[what] != wanted:
            raise HashzooError(
                f"the {what} of '{opened.name}' here (digest {digests[what][:8]}) is not that of the track "
                f"({wanted[:8]}); open the data set of which the runs were made",
                exit_code=1,
            )
    return dataset
