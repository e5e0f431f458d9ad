"""Opens the data set of a track again: as the bench that made the runs named it, and only if it is the same."""

from __future__ import annotations

from pathlib import Path

from hashzoo.benchmark import OPENED, open_dataset
from hashzoo.data import Dataset
from hashzoo.errors import HashzooError
from hashzoo.settings import parse_assignments
from hashzoo.storage import read_json
from hashzoo.track import Track


def opened_as(folder: Path) -> tuple[str, list[str]] | None:
    """The name and the `dataset.*` settings by which a bench opened the data set of a track's folder.

    None where that is not known: the data set was given as an object, or the bench is older than this record.
    """
    path = folder / OPENED
    if not path.exists():
        return None
    kept = read_json(path)
    try:
        name, settings = kept["name"], list(kept["settings"])
    except (KeyError, TypeError):
        name, settings = None, []
    if not all(isinstance(word, str) for word in (name, *settings)):
        raise HashzooError(f"{path} is damaged; delete it, and the same bench writes it again", exit_code=1)
    return name, settings


def reopen(folder: Path, track: Track) -> Dataset:
    """The data set of a track's folder; by the track's name where it is not known how it was opened.

    Raises:
        HashzooError: it cannot be opened here, or its content or its splits are not those of the track.
    """
    name, settings = opened_as(folder) or (track.dataset, [])
    dataset = open_dataset(name, parse_assignments(settings, [], ["dataset"]))
    digests = {"content": dataset.fingerprint(), "splits": dataset.splits.digest()}
    for what, wanted in (("content", track.fingerprint), ("splits", track.splits)):
        if digests[what] != wanted:
            raise HashzooError(
                f"the {what} of '{name}' here (digest {digests[what][:8]}) is not that of the track "
                f"({wanted[:8]}); open the data set of which the runs were made",
                exit_code=1,
            )
    return dataset
