"""A table in one zip file with all that is needed to check it: `hashzoo report --bundle`.

Equal runs give equal bytes on every machine: entries are in order, without dates, and not compressed. No path of the
machine is in it; see `Shortened`.

README.md                        the tables, and how to check them
bundle.json                      version, the digest of each file, and in which files paths were shortened
runs/<track>/...                 track.json, labels.npz, dataset.json, and of each run of the tables FILES
"""

from __future__ import annotations

import hashlib
import json
import re
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from hashzoo.errors import HashzooError
from hashzoo.report.folds import join_folds
from hashzoo.report.formats import markdown
from hashzoo.report.table import make_table
from hashzoo.storage.files import atomic_write, read_json

MOST_BYTES = 2**30  # of all entries together
MOST_ENTRIES = 20_000
ABOUT, README, RUNS = "bundle.json", "README.md", "runs"
OF_TRACK = ("track.json", "labels.npz", "dataset.json")
FILES = ("run.json", "result.json", "train.jsonl", "codes.npz", "per_query.npz", "rounds.json", "rounds.npz")
# A value that is a path, perhaps behind a word: "table:/home/me/photos.csv", "image.weights=~/w.safetensors".
_VALUE = re.compile(r"((?:[^/\\~\s]{2,}?[:=])?)((?:~|[A-Za-z]:)?[/\\][^/\\\s].*)", re.DOTALL)
# A path with a folder in it, inside a sentence.
_INSIDE = re.compile(r"(?<![\w/.\\])(?:~|[A-Za-z]:)?[/\\](?:[^/\\\s'\"]+[/\\])+[^/\\\s'\",;)]*")

_HOW = """\
# Runs of hashzoo, to be checked

`hashzoo report {name}` prints the tables below again, after it has computed every score from the codes and labels in
this file and compared it with the recorded one. It also compares every file with its digest in bundle.json.

That shows that the scores follow from the codes. That the codes come from training is shown by training again: unpack
this file, and

    hashzoo bench --from runs/TRACK/METHOD/RUN

trains one run again and says where it differs: versions, data, source of plugins, then codes and scores, bit by bit.

The runs were made with {versions}. Labels of queries and database rows are in runs/TRACK/labels.npz, the digest of the
data set in runs/TRACK/track.json, settings and sources of a run in its run.json.
{shortened}
"""


class Shortened:
    """JSON and text without the paths of a machine: of each its last part stays. `count`: how often that was done."""

    def __init__(self) -> None:
        self.count = 0

    def text(self, text: str) -> str:
        whole = _VALUE.fullmatch(text)
        if whole and "\n" not in text:
            self.count += 1
            return whole[1] + _last(whole[2])
        found, count = _INSIDE.subn(lambda match: _last(match[0]), text)
        self.count += count
        return found

    def json(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list):
            return [self.json(one) for one in value]
        if isinstance(value, Mapping):
            return {self.text(name): self.json(one) for name, one in value.items()}
        return value


def write_bundle(found: list[dict[str, Any]], path: Path) -> int:
    """Pack the runs that `collect` gave, and tables of them; how many runs these are.

    Raises:
        HashzooError: it would be too large, or a file of a run cannot be read.
    """
    files: dict[str, bytes | Path] = {}
    shortened = []
    for item in found:
        folder = Path(item["results"][0]["run"]).parents[1]
        track = f"{RUNS}/{item['track']['id']}"
        shortened += _add(files, {name: folder / name for name in OF_TRACK}, track)
        for result in item["results"]:
            run = Path(result["run"])
            there = {name: run / name for name in FILES}
            if result["status"] != "ok":
                there = {"run.json": run / "run.json"}
                files[f"{track}/{_place(run, result)}/error.txt"] = (Shortened().text(result["reason"]) + "\n").encode()
            shortened += _add(files, there, f"{track}/{_place(run, result)}")
    digests = {name: _digest(content) for name, content in sorted(files.items())}
    about = {"schema": 1, "shortened": sorted(shortened), "files": digests}
    files[ABOUT] = (json.dumps(about, indent=2, sort_keys=True) + "\n").encode()
    files[README] = _readme(found, path.name, shortened).encode()
    total = sum(_size(content) for content in files.values())
    if total > MOST_BYTES or len(files) > MOST_ENTRIES:
        raise HashzooError(
            f"these runs would make a bundle of {total:,} bytes in {len(files):,} files, and one has at most "
            f"{MOST_BYTES:,} in {MOST_ENTRIES:,}; move some of the runs to another folder, and name it with --runs"
        )
    with atomic_write(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, content in sorted(files.items()):
            entry = zipfile.ZipInfo(name)  # without a date: 1980
            entry.external_attr = 0o644 << 16
            entry.create_system = 3  # as if packed on Unix, wherever that is
            archive.writestr(entry, content if isinstance(content, bytes) else content.read_bytes())
    return sum(len(item["results"]) for item in found)


def _add(files: dict[str, bytes | Path], there: Mapping[str, Path], place: str) -> list[str]:
    """Note files down, as far as they exist; the names of those in which paths were shortened."""
    changed = []
    for name, path in there.items():
        if not path.exists():
            continue
        files[f"{place}/{name}"] = path
        if path.suffix == ".npz":
            continue
        short = Shortened()
        if path.suffix == ".json":
            text = json.dumps(short.json(read_json(path)), indent=2, ensure_ascii=False) + "\n"
        else:
            text = short.text(path.read_text(encoding="utf-8"))
        if short.count:
            files[f"{place}/{name}"] = text.encode()
            changed.append(f"{place}/{name}")
    return changed


def _place(run: Path, result: Mapping[str, Any]) -> str:
    """method/run; the name of a run holds those of its encoders, in which paths may stand."""
    short = Shortened()
    names = [short.text(result["encoders"][role]) for role in ("image", "text")]
    if not short.count:
        return f"{run.parent.name}/{run.name}"
    pair = "+".join("".join(c if c.isalnum() or c in "._-" else "-" for c in name) for name in names)
    return f"{run.parent.name}/{pair}-{result['bits']}-s{result['seed']}-{run.name.rpartition('-')[2]}"


def _readme(found: list[dict[str, Any]], name: str, shortened: Iterable[str]) -> str:
    versions: dict[str, set[str]] = {}
    for item in found:
        for result in item["results"]:
            for package, version in read_json(Path(result["run"]) / "run.json")["versions"].items():
                versions.setdefault(package, set()).add(version)
    made = ", ".join(f"{package} {' and '.join(sorted(found))}" for package, found in sorted(versions.items()))
    note = "\nPaths were shortened to their last part in: " + ", ".join(sorted(shortened)) + ".\n" if shortened else ""
    tables = "\n".join(Shortened().text(markdown(make_table(item))) for item in join_folds(found))
    return _HOW.format(name=name, versions=made, shortened=note) + tables


def _last(path: str) -> str:
    return re.split(r"[/\\]", path.rstrip("/\\"))[-1]


def _digest(content: bytes | Path) -> dict[str, Any]:
    data = content if isinstance(content, bytes) else content.read_bytes()
    return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def _size(content: bytes | Path) -> int:
    return len(content) if isinstance(content, bytes) else content.stat().st_size
