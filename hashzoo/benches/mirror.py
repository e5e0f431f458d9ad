"""Runs at an address: the folder of this machine in which they are worked on, and what is copied there and back.

Locks, renames and memory maps need a file system, so all work is done in a folder of the cache that mirrors the
address. Below the address lie the files of a runs folder (see `hashzoo.benches.run`). A run is copied there as
soon as it has ended, its result.json last: whatever is ended when, a finished run is complete there or absent. It is
never written over.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hashzoo.benches.records import MOST_BYTES, RUN, check_files, read_record
from hashzoo.benches.track import read_result
from hashzoo.data.locks import alone, free
from hashzoo.errors import HashzooError
from hashzoo.storage.files import cache_dir, digest, write_error
from hashzoo.storage.remote import Listed, Remote, is_address

if TYPE_CHECKING:
    from hashzoo.recipe import Cell

LOCKS = ".locks"  # of a track's folder: a file for each run that was trained in it
TRACK, OF_TRACK = "track.json", ("labels.npz", "dataset.json")  # a track is there when its track.json is
DONE, FAILED = "result.json", "error.txt"  # the last file of a run
TOWERS = "model.safetensors"  # by far the largest, and of no use to who compares: it stays there until it is asked for
FILES = ("run.json", "train.jsonl", "codes.npz", "per_query.npz", "rounds.json", "rounds.npz")
AT_ONCE = 64  # runs that are fetched together


class Mirror:
    """What lies on this machine of the runs at an address.

    Runs are named by where they lie, "track/method/run". What comes from there is checked before it is taken.

    Attributes:
        remote: the address.
        folder: a runs folder.
    """

    def __init__(self, address: str):
        self.remote = Remote(address)
        readable = re.sub(r"[^\w.-]+", "-", self.remote.address)[-40:].strip("-.")
        self.folder = cache_dir() / "mirrors" / f"{readable}-{digest(self.remote.address)[:12]}"
        self._finished: set[str] = set()  # what is known to be finished there

    def fetch_asked(self, track: str, requests: Mapping[str, Cell]) -> None:
        """Fetch those finished runs of a track that were asked for in the same words, by the digest of these."""
        done = {run: files for run, files in _runs(self.remote.list(track)).items() if DONE in files}
        self._finished |= done.keys()
        kinds = {(cell.method, f"{cell.bits}-s{cell.seed}") for cell in requests.values()}
        absent = {run: files for run, files in done.items() if _kind(run) in kinds and not self._here(run, files)}
        asked: dict[str, dict[str, Listed]] = {}

        def note(run: str, staged: Path) -> None:
            if _request(staged / DONE) in requests:
                asked[run] = absent[run]

        def keep(run: str, staged: Path) -> None:
            if not self._fault(run, staged, asked[run]):  # else it is told when the cell is to be trained
                self._move_if_free(run, staged)

        self._stage({run: {DONE: files[DONE]} for run, files in absent.items()}, note)
        self._stage(asked, keep)

    def fetch_all(self) -> set[str]:
        """Fetch all runs that have ended, but for their towers, and their tracks; their names.

        Runs get the times that they have there, so that the order of their ages is the same on every machine.
        """
        listed = self.remote.list()
        ended = _runs(listed)
        if not ended:
            address = self.remote.address
            raise HashzooError(f"{address} holds no finished run; run hashzoo bench --runs {address} first")
        absent = {run: files for run, files in ended.items() if not self._here(run, files)}
        if absent:
            runs = "1 run" if len(absent) == 1 else f"{len(absent):,} runs"
            print(f"hashzoo: fetching {runs} from {self.remote.address}", file=sys.stderr)
        damaged = set()

        def keep(run: str, staged: Path) -> None:
            fault = self._fault(run, staged, absent[run])
            if fault:
                damaged.add(run)
                print(f"hashzoo: left out: {fault}", file=sys.stderr)
            else:
                self._move_if_free(run, staged)

        for track in {run.partition("/")[0] for run in ended}:
            self._fetch_track(track, listed)
        self._stage(absent, keep)
        for run in ended:
            self._set_times(run, ended[run])
        return ended.keys() - damaged

    def fetch_run(self, run: str) -> Path:
        """Fetch one finished run, its towers too, and its track; its folder."""
        folder = self.folder / run
        if not ((folder / DONE).exists() and (folder / TOWERS).exists()):
            track = run.partition("/")[0]
            self._fetch_track(track, self.remote.list(track))
            if not self.take(folder, towers=True):
                raise HashzooError(f"{self.remote.address}/{run} is no finished run; hashzoo report tells which are")
        return folder

    def take(self, folder: Path, towers: bool = False) -> bool:
        """Fetch a finished run over what is here of it; nobody else works on that. False: there is no whole one."""
        run = self._name(folder)
        files = _runs(self.remote.list(run)).get(run, {})
        if DONE not in files:
            self._finished.discard(run)
            return False
        faults: list[str] = []

        def keep(run: str, staged: Path) -> None:
            fault = self._fault(run, staged, files)
            if fault:
                faults.append(fault)
            else:
                self._move(run, staged)

        self._stage({run: files}, keep, towers)
        if faults:
            self._finished.discard(run)
            print(f"hashzoo: {faults[0]}", file=sys.stderr)
            return False
        self._finished.add(run)
        return True

    def push(self, folder: Path) -> bool:
        """Copy a run that has ended there. False: a finished one is there, and whole."""
        run = self._name(folder)
        if run in self._finished:
            return False
        there = self.remote.list(run)
        if f"{run}/{DONE}" in there:
            if self._whole(run, _runs(there).get(run, {})):
                self._finished.add(run)
                return False
            self.remote.remove(f"{run}/{DONE}")
        last = DONE if (folder / DONE).exists() else FAILED
        names = [name for name in (*FILES, TOWERS) if (folder / name).exists()]
        self.remote.put({f"{run}/{name}": folder / name for name in names})
        self.remote.put({f"{run}/{last}": folder / last})
        if last == DONE:
            self._finished.add(run)
            if f"{run}/{FAILED}" in there:
                self.remote.remove(f"{run}/{FAILED}")
        return True

    def push_track(self, folder: Path) -> None:
        """Copy there what a track is, unless it is there."""
        track = folder.name
        if not self.remote.has(f"{track}/{TRACK}"):
            self.remote.put({f"{track}/{name}": folder / name for name in OF_TRACK if (folder / name).exists()})
            self.remote.put({f"{track}/{TRACK}": folder / TRACK})

    def of_worker(self, result: dict[str, Any]) -> dict[str, Any]:
        """A result that a worker gave, perhaps on another machine, with its run on this one."""
        folder = self.folder.joinpath(*Path(result["run"]).parts[-3:])
        if result["status"] == "ok" and not (folder / DONE).exists():
            self.take(folder)
        return result | {"run": str(folder)}

    def _name(self, folder: Path) -> str:
        return folder.relative_to(self.folder).as_posix()

    def _here(self, run: str, files: Mapping[str, Listed]) -> bool:
        """Whether all is here of a run that has ended there, or a finished one for one that failed there."""
        folder = self.folder / run
        if DONE not in files and not (folder / DONE).exists():
            failure = folder / FAILED
            return failure.exists() and failure.stat().st_size == files[FAILED].size
        return (folder / DONE).exists() and all((folder / name).exists() for name in files if name in FILES)

    def _stage(
        self, runs: Mapping[str, Mapping[str, Listed]], then: Callable[[str, Path], None], towers: bool = False
    ) -> None:
        """Copy runs into folders of this machine, and call `then` with the name and folder of each."""
        if not runs:
            return
        staging, names = self.folder / ".staging", list(runs)
        with alone(self.folder, ".lock", f"another process fetches runs of {self.remote.address}; waiting for it"):
            try:
                for start in range(0, len(names), AT_ONCE):
                    shutil.rmtree(staging, ignore_errors=True)  # a process that was killed may have left it
                    places = {run: staging / str(number) for number, run in enumerate(names[start : start + AT_ONCE])}
                    for place in places.values():
                        place.mkdir(parents=True)
                    self.remote.get(
                        {
                            f"{run}/{name}": place / name
                            for run, place in places.items()
                            for name in runs[run]
                            if towers or name != TOWERS
                        }
                    )
                    for run, place in places.items():
                        then(run, place)
            except OSError as error:
                raise write_error(staging, error) from error
            finally:
                shutil.rmtree(staging, ignore_errors=True)

    def _fault(self, run: str, staged: Path, files: Mapping[str, Listed]) -> str:
        """What is wrong with a run that was copied here; "" if nothing is."""
        try:
            key = read_record(staged / "run.json", RUN)["key"]
            if not re.fullmatch("[0-9a-f]{64}", key) or not run.endswith(f"-{key[:8]}"):
                raise HashzooError(f"{staged / 'run.json'} belongs to another run")
            if DONE in files:
                result = read_result(staged / DONE)
                if result["key"] != key:
                    raise HashzooError(f"{staged / DONE} belongs to another run")
                known, listed = result.get("files", {}).get(TOWERS), files.get(TOWERS)
                if known and (listed is None or listed.size != known["bytes"]):
                    raise HashzooError(f"{staged / TOWERS} is not the file that the run wrote")
                check_fetched(staged, result, content=True)
            elif files[FAILED].size > MOST_BYTES or not (staged / FAILED).read_text(encoding="utf-8"):
                raise HashzooError(f"{staged / FAILED} says nothing")
        except (HashzooError, UnicodeError) as error:
            return str(error).replace(str(staged), f"{self.remote.address}/{run}")
        return ""

    def _whole(self, run: str, files: Mapping[str, Listed]) -> bool:
        """Whether a finished run that is there is what it says it is."""
        faults: list[str] = []
        self._stage({run: files} if files else {}, lambda run, staged: faults.append(self._fault(run, staged, files)))
        return faults == [""]

    def _move_if_free(self, run: str, staged: Path) -> None:
        """Take a run that was checked, unless another process trains it here this very moment."""
        key = read_record(staged / "run.json", RUN)["key"]
        with free(self.folder / run.partition("/")[0] / LOCKS, f"{key}.lock") as is_free:
            if is_free:
                self._move(run, staged)

    def _move(self, run: str, staged: Path) -> None:
        """Put a run that was checked in its place, its last file last."""
        folder = self.folder / run
        folder.mkdir(parents=True, exist_ok=True)
        (folder / DONE).unlink(missing_ok=True)
        (folder / FAILED).unlink(missing_ok=True)
        for path in sorted(staged.iterdir(), key=lambda path: path.name in (DONE, FAILED)):
            os.replace(path, folder / path.name)

    def _fetch_track(self, track: str, listed: Mapping[str, Listed]) -> None:
        folder = self.folder / track
        if f"{track}/{TRACK}" not in listed or (folder / TRACK).exists():
            return  # without it, who reads the runs says so
        folder.mkdir(parents=True, exist_ok=True)
        for names in (OF_TRACK, (TRACK,)):
            there = [name for name in names if f"{track}/{name}" in listed]
            parts = {name: folder / f".{name}.{os.getpid()}.part" for name in there}
            self.remote.get({f"{track}/{name}": part for name, part in parts.items()})
            for name, part in parts.items():
                os.replace(part, folder / name)

    def _set_times(self, run: str, files: Mapping[str, Listed]) -> None:
        for name in ("run.json", DONE):
            path, there = self.folder / run / name, files.get(name)
            # A result of another size was scored again here, by a newer evaluator.
            if there and there.modified and path.exists() and path.stat().st_size == there.size:
                os.utime(path, (there.modified, there.modified))


def place_of(runs: str) -> tuple[Path, Mirror | None]:
    """The folder in which runs are worked on, and the mirror that it is where `runs` is an address."""
    if is_address(runs):
        mirror = Mirror(runs)
        return mirror.folder, mirror
    if re.match(r"\w[\w+.-]+:/", runs):
        address = runs.replace(":/", "://", 1)
        raise HashzooError(f"{runs} is neither a folder nor an address; give {address} as text, not as a Path")
    return Path(runs), None


def check_fresh(runs: str, fresh: bool) -> None:
    """Raise where finished runs at an address would be trained again: they are never written over."""
    if fresh and is_address(runs):
        raise HashzooError(f"finished runs at {runs} are not written over; leave --fresh out, or name another address")


def run_folder(run: str) -> Path:
    """The folder of a run: at a path, or at an address, from where it is fetched."""
    if not is_address(run):
        return Path(run)
    address, *parts = run.rstrip("/").rsplit("/", 3)
    if not is_address(address) or not all(map(_plain, parts)):
        raise HashzooError(
            f"{run} names no run; give ADDRESS/TRACK/METHOD/RUN, such as s3://bucket/runs/TRACK/METHOD/RUN"
        )
    return Mirror(address).fetch_run("/".join(parts))


def check_fetched(folder: Path, result: Mapping[str, Any], content: bool = False) -> None:
    """As `check_files`, of a run in a mirror: its towers may have stayed where they are."""
    known = result.get("files", {})
    here = {name: about for name, about in known.items() if name != TOWERS or (folder / TOWERS).exists()}
    check_files(folder, {"files": here}, content)


def _runs(listed: Mapping[str, Listed]) -> dict[str, dict[str, Listed]]:
    """The files of each run that has ended. Names may be a stranger's: what hashzoo does not name so is left out."""
    found: dict[str, dict[str, Listed]] = {}
    for path, about in listed.items():
        *place, name = path.split("/")
        if len(place) == 3 and all(map(_plain, place)) and name in (*FILES, TOWERS, DONE, FAILED):
            found.setdefault("/".join(place), {})[name] = about
    for files in found.values():
        if DONE in files:
            files.pop(FAILED, None)  # of an earlier try
    return {run: files for run, files in found.items() if "run.json" in files and (DONE in files or FAILED in files)}


def _plain(name: str) -> bool:
    """Whether a name is as the folders of a runs folder are called."""
    return name[:1].isalnum() and all(letter.isalnum() or letter in "._+-" for letter in name)


def _kind(run: str) -> tuple[str, str]:
    """Method, and code length with seed, in the name of a run (see `run.folder_of`)."""
    _, method, name = run.split("/")
    return method, "-".join(name.rsplit("-", 3)[1:3])


def _request(path: Path) -> str:
    try:
        return str(read_result(path)["request"])
    except HashzooError:
        return ""
