"""Commands of hashzoo that are disturbed, and what must hold afterwards.

A Nursery is a process that imports hashzoo once and forks a child for each command, so that a command starts at once. A
child is disturbed before a chosen time that it changes a file below its folder (see CHANGES): by a signal, by an
operating system that refuses, or by a clock that jumps; or after some CPU time, by a signal; or by a limit on the size
of its files.
`benchmarks/faults.py` is the campaign, tests/test_faults.py the few that run each time.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

SIGNALS = {"KILL": signal.SIGKILL, "TERM": signal.SIGTERM, "INT": signal.SIGINT}
CHANGES = ("os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.truncate")  # and files that are opened for writing
REFUSED = ("os.rename", "os.mkdir", "open")  # what a full disk, and a folder that cannot be written to, refuses
SETTINGS = ("dataset.pairs=100", "dataset.pixels=16", "dataset.difficulty=0")
BENCH = (
    *("bench", "--method", "toy,cca-itq", "--bits", "8,16", "--dataset", "scenes", "--encoders", "tiny+bow"),
    *("--threads", "1", "--jobs", "1", *(word for setting in SETTINGS for word in ("--set", setting))),
)
LIMIT = 120  # seconds of a command


@dataclass(frozen=True)
class Fault:
    """What happens to a command.

    Attributes:
        signal: a name of SIGNALS, which ends it; "": it is not ended.
        event: before which change of a file it happens, counted from 1; 0: at no change.
        seconds: of CPU, after which the signal comes; 0: at no time.
        refuse: the number of an error with which the system refuses that change; from that change on all of them.
        size: of a file in bytes, over which nothing can be written; 0: no limit.
        jump: of the clock, in seconds; 0: it goes as it did. Files that are renamed from then on have its time.
    """

    signal: str = ""
    event: int = 0
    seconds: float = 0
    refuse: int = 0
    size: int = 0
    jump: int = 0

    def __str__(self) -> str:
        if self.size:
            return f"files of {self.size} bytes at most"
        if self.jump:
            end = f", then SIG{self.signal} after {self.seconds:.3f} s" if self.signal else ""
            return f"a clock that jumps by {self.jump} s at change {self.event}{end}"
        what = f"SIG{self.signal}" if self.signal else os.strerror(self.refuse)
        return f"{what} at change {self.event}" if self.event else f"{what} after {self.seconds:.3f} s"


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit code (minus the signal), how often it changed a file, CPU seconds, its output."""

    code: int
    changes: int
    seconds: float
    out: str
    err: str

    def sentence(self) -> str:
        """The one sentence of a command that was refused; anything else fails."""
        said = [line for line in self.err.splitlines() if line.startswith("hashzoo: ")]
        assert "Traceback" not in self.err, self.err
        assert self.code in (1, 2), self
        assert said, self
        return said[-1]


class Nursery:
    """The process that forks the commands; `plugin` is a folder of installed plugins.

    Attributes:
        place: a folder for what scenarios share.
        benched: how the bench ended that they begin with; None before it has run.
    """

    def __init__(self, plugin: Path):
        self.place = plugin.parent
        self.benched: Ended | None = None
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join([str(plugin), *filter(None, sys.path)]),
            "OMP_NUM_THREADS": "1",
        }
        self._process = subprocess.Popen(
            [sys.executable, "-B", __file__], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(self, folder: Path, *words: object, fault: Fault | None = None) -> Ended:
        """Run a command in a folder, whose cache lies in it, to its end."""
        return self.wait(self.start(folder, *words, fault=fault))

    def start(self, folder: Path, *words: object, fault: Fault | None = None, called: str = "") -> int:
        """Begin a command; its number is for `wait`, its name tells it from others in the same folder."""
        asked = {"folder": str(folder), "words": list(map(str, words)), "fault": asdict(fault or Fault())}
        asked["called"] = called
        return int(self._asked({"start": asked}))

    def wait(self, number: int) -> Ended:
        return Ended(**self._asked({"wait": number}))

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()

    def _asked(self, question: dict[str, Any]) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, "the nursery has ended"
        return json.loads(answer)


@contextlib.contextmanager
def nursery(place: Path) -> Iterator[Nursery]:
    """A nursery with the plugin `tiny`."""
    from helpers import HERE, Site

    place.mkdir(parents=True, exist_ok=True)
    Site(place).install(HERE / "plugins_working" / "tiny")
    made = Nursery(place)
    try:
        yield made
    finally:
        made.close()


class Scenario:
    """A command, its undisturbed outcome, and what must hold after a disturbed one.

    Attributes:
        begun: a folder with all that the command needs; each trial begins with a copy.
        after: the same folder after an undisturbed command.
        changes, seconds: how often that command changed a file, and the CPU seconds that it took.
    """

    name = ""
    words: tuple[str, ...] = ()

    def __init__(self, nursery: Nursery, place: Path):
        self.nursery, self.place = nursery, place / self.name
        self.begun, self.after = self.place / "begun", self.place / "after"
        self.begun.mkdir(parents=True)
        self.begin()
        ended = self.undisturbed()
        self.changes, self.seconds = ended.changes, ended.seconds
        self.expected = self.outcome(self.after)

    def begin(self) -> None:
        """Fill `begun`."""

    def undisturbed(self) -> Ended:
        """Fill `after`."""
        shutil.copytree(self.begun, self.after)
        ended = self.nursery.run(self.after, *self.words)
        assert ended.code == 0, ended
        return ended

    def benched(self, folder: Path) -> Ended:
        """Make a folder in which a bench has ended; it is trained once for all scenarios."""
        whole = self.nursery.place / "benched"
        if self.nursery.benched is None:
            whole.mkdir()
            self.nursery.benched = self.nursery.run(whole, *BENCH)
            assert self.nursery.benched.code == 0, self.nursery.benched
        shutil.copytree(whole, folder, dirs_exist_ok=True)
        return self.nursery.benched

    def outcome(self, folder: Path) -> Any:
        """What counts of a finished command: equal for an undisturbed one and for one that was taken up again."""
        raise NotImplementedError

    def finished(self, folder: Path) -> dict[str, Any]:
        """What is finished in a folder, perhaps of a disturbed command; whatever is half written fails."""
        return {}

    def trial(self, fault: Fault) -> str:
        """Disturb the command, look, and let it go on; what became of it ("ended", "refused" or "unharmed")."""
        folder = self.place / "trial"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self.begun, folder)
        ended = self.disturbed(folder, fault)
        if ended.code == 0:
            assert self.outcome(folder) == self.expected
            if not fault.jump:
                return "unharmed"
        elif fault.signal:
            expected = 130 if fault.signal == "INT" else -SIGNALS[fault.signal]
            # A time in CPU seconds comes as SIGPROF; in the middle of imports Python prints what Ctrl-C interrupted.
            assert ended.code in (expected, -signal.SIGPROF, 1 if fault.signal == "INT" else expected), ended
        else:
            ended.sentence()
        before = self.finished(folder)
        again = self.nursery.run(folder, *self.words)
        assert again.code == 0, again
        assert self.outcome(folder) == self.expected
        after = self.finished(folder)
        assert {name: after.get(name) for name in before} == before, "what was finished was made again"
        if ended.code == 0:
            return "unharmed"
        return "ended" if fault.signal else "refused"

    def disturbed(self, folder: Path, fault: Fault) -> Ended:
        """Run the command until the fault ends it, or to its end."""
        return self.nursery.run(folder, *self.words, fault=fault)

    def faults(self, rng: random.Random) -> Fault:
        """A signal at random: half of them at a change of a file, half at a time."""
        name = rng.choice(list(SIGNALS))
        if rng.random() < 0.5:
            return Fault(name, event=rng.randint(1, self.changes))
        return Fault(name, seconds=rng.uniform(0.001, self.seconds))

    def refusals(self, rng: random.Random) -> Fault:
        """A disk at random that is full, or cannot be written to, from some change on, or files that cannot grow."""
        if rng.random() < 0.3:
            return Fault(size=int(2 ** rng.uniform(10, 18)))  # what is said goes to a file, too, and has to fit
        return Fault(event=rng.randint(1, self.changes), refuse=rng.choice([errno.ENOSPC, errno.EROFS, errno.EACCES]))

    def jumps(self, rng: random.Random) -> Fault:
        """A clock that jumps by a second to thirty years, back or forth; half of the commands are ended after it."""
        jump = rng.choice([-1, 1]) * int(10 ** rng.uniform(0, 9))
        name = rng.choice(["", "", "", *SIGNALS])
        return Fault(name, rng.randint(1, self.changes), rng.uniform(0.1, self.seconds) if name else 0, jump=jump)


class Bench(Scenario):
    """Cells that are trained, from an empty cache on."""

    name, words = "bench", BENCH

    def undisturbed(self) -> Ended:
        return self.benched(self.after)

    def outcome(self, folder: Path) -> Any:
        """Scores and codes of every run, and the bytes of the table (of that one which has no seconds)."""
        table = self.nursery.run(folder, "report", "--latex")
        assert table.code == 0, table
        return results(folder / "runs"), table.out

    def finished(self, folder: Path) -> dict[str, Any]:
        found = results(folder / "runs")
        ended = self.nursery.run(folder, "report", "--json")
        if found:
            assert ended.code == 0, ended
            reported = [run for item in json.loads(ended.out)["tracks"] for run in item["results"]]
            assert sorted(Path(run["run"]).name for run in reported) == sorted(found)
        else:
            assert ended.code == 2, ended
        stamps = {path.parent.name: path.stat().st_mtime_ns for path in (folder / "runs").glob("*/*/*/result.json")}
        return {name: (stamps[name], run) for name, run in found.items()}


class Prepare(Scenario):
    """A data set that is prepared from files of the user."""

    name, words = "prepare", ("datasets", "prepare", "files/mine", "--from", "given")

    def begin(self) -> None:
        import numpy as np

        draw = np.random.default_rng(0)
        given = self.begun / "given"
        given.mkdir()
        np.save(given / "IAll.npy", draw.standard_normal((200, 12)).astype(np.float32))
        np.save(given / "YAll.npy", (draw.random((200, 8)) < 0.3).astype(np.uint8))
        labels = draw.random((200, 6)) < 0.3
        labels[:, 0] |= ~labels.any(axis=1)
        np.save(given / "LAll.npy", labels.astype(np.uint8))

    def outcome(self, folder: Path) -> Any:
        return files(folder / "cache" / "datasets")

    def finished(self, folder: Path) -> dict[str, Any]:
        ended = self.nursery.run(folder, "datasets", "verify", "files/mine")
        if ended.code:
            assert "hashzoo datasets prepare files/mine" in ended.sentence(), ended
            return {}
        assert files(folder / "cache" / "datasets") == self.expected
        return self.expected


class Encode(Scenario):
    """Rows of a data set that become a collection."""

    name = "encode"

    def begin(self) -> None:
        self.benched(self.begun)
        run = next((self.begun / "runs").glob("*/toy/*-16-*"))
        self.words = ("encode", str(run.relative_to(self.begun)), "--out", "codes", "--split", "all")

    def outcome(self, folder: Path) -> Any:
        import hashzoo.search

        collection = hashzoo.search.open(folder / "codes")
        collection.verify()
        answer = collection.query([[1.0, -1.0] * 8], k=len(collection))
        return answer.ids.tolist(), answer.distances.tolist(), answer.metadata().to_csv()

    def finished(self, folder: Path) -> dict[str, Any]:
        import hashzoo.search

        if (folder / "codes" / "manifest.json").exists():
            hashzoo.search.open(folder / "codes").verify()
        return results(folder / "runs")


class Report(Scenario):
    """A table that is packed; runs are only read."""

    name, words = "report", ("report", "--bundle", "out.zip")

    def begin(self) -> None:
        self.benched(self.begun)

    def outcome(self, folder: Path) -> Any:
        return (folder / "out.zip").read_bytes(), files(folder / "runs")

    def finished(self, folder: Path) -> dict[str, Any]:
        if (folder / "out.zip").exists():
            assert (folder / "out.zip").read_bytes() == self.expected[0]
        return files(folder / "runs")


class Together(Bench):
    """Two benches on one runs folder, one of which is disturbed."""

    name = "together"

    def disturbed(self, folder: Path, fault: Fault) -> Ended:
        Path(f"{folder}.trained").unlink(missing_ok=True)
        disturbed = self.nursery.start(folder, *self.words, fault=fault, called="a")
        other = self.nursery.start(folder, *self.words, called="b")
        ended, beside = self.nursery.wait(disturbed), self.nursery.wait(other)
        assert beside.code == 0, beside
        assert self.outcome(folder) == self.expected
        trained = [name for name, _, _ in trainings(folder)]
        assert len(trained) == len(set(trained)), f"trained twice: {trained}"
        return ended


class Shared(Bench):
    """Two benches with a runs folder each and one cache, one of which is disturbed."""

    name = "shared"

    def outcome(self, folder: Path) -> Any:
        features = folder / "cache" / "features"
        arrays = {path.name: path.read_bytes() for path in sorted(features.glob("*.npy"))}
        return super().outcome(folder), arrays

    def disturbed(self, folder: Path, fault: Fault) -> Ended:
        disturbed = self.nursery.start(folder, *self.words, fault=fault, called="a")
        other = self.nursery.start(folder, *self.words, "--runs", "others", called="b")
        ended, beside = self.nursery.wait(disturbed), self.nursery.wait(other)
        assert beside.code == 0, beside
        assert results(folder / "others") == self.expected[0][0]
        assert "damaged" not in beside.err, beside.err
        return ended


SCENARIOS = {one.name: one for one in (Bench, Prepare, Encode, Report, Together, Shared)}


class Truncations(Scenario):
    """Files of a bench, its cache and a collection that are cut off anywhere."""

    name = "truncate"
    # Each reads other files; what it says of numbers is compared.
    READERS = (
        ("report", "--csv"),
        ("report", "--pivot", "trainer.epochs", "--json"),
        ("eval", "RUN", "--json"),
        ("search", "codes", "--text", "a red car", "--json"),
        (*BENCH, "--json"),
    )

    def begin(self) -> None:
        self.benched(self.begun)
        self.run = str(next((self.begun / "runs").glob("*/toy/*-16-*")).relative_to(self.begun))
        self.words = ("encode", self.run, "--out", "codes")

    def outcome(self, folder: Path) -> Any:
        return [self._said(self.nursery.run(folder, *self._reader(n)), n) for n in range(len(self.READERS))]

    def candidates(self) -> list[Path]:
        """Files that hold something."""
        found = sorted(path.relative_to(self.after) for path in self.after.rglob("*") if path.is_file())
        return [path for path in found if (self.after / path).stat().st_size]

    def cut(self, file: Path, length: int) -> str:
        """Cut a file off: every reader says so, or does without it, or makes it again; the numbers stay the same."""
        folder = self.place / "trial"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self.after, folder)
        os.truncate(folder / file, length)
        said = []
        for number in range(len(self.READERS)):
            ended = self.nursery.run(folder, *self._reader(number))
            if ended.code == 0:
                self._agrees(number, self._said(ended, number))
                said.append("whole" if "left out" not in ended.err else "left out")
            else:
                assert ended.sentence(), ended
                said.append("refused")
        # The last reader was the bench, which makes again what it lacks: after it, all is as it was.
        assert said[-1] == "whole" or not str(file).startswith(("runs", "cache")), (file, length, said)
        return max(said, key=["whole", "left out", "refused"].index)

    def _reader(self, number: int) -> list[str]:
        return [self.run if word == "RUN" else word for word in self.READERS[number]]

    def _said(self, ended: Ended, number: int) -> Any:
        assert ended.code == 0, ended
        if self.READERS[number][0] == "report" and "--csv" in self.READERS[number]:
            head, *lines = ended.out.splitlines()
            kept = [n for n, name in enumerate(head.split(",")) if not name.startswith("seconds")]
            return sorted(",".join(line.split(",")[n] for n in kept if n < len(line.split(","))) for line in lines)
        told = json.loads(ended.out)
        if "pivots" in told:  # its cells by their heads: without a run they stand elsewhere
            return sorted(
                f"{row} {column} {mean} {count}"
                for pivot in told["pivots"]
                for row, means, counts in zip(pivot["rows"], pivot["means"], pivot["counts"], strict=True)
                for column, mean, count in zip(pivot["columns"], means, counts, strict=True)
            )
        return sorted(_numbers(told))

    def _agrees(self, number: int, found: Any) -> None:
        """Nothing is said that was not said of the whole files; less may be said."""
        assert set(found) <= set(self.expected[number]), set(found) - set(self.expected[number])


def _numbers(value: Any, at: str = "") -> Iterator[str]:
    """Every number of nested JSON by where it stands, but for seconds; runs by their names."""
    if isinstance(value, dict):
        at = f"{at}.{value['run']}" if "run" in value else at
        for name, one in value.items():
            if name not in ("seconds", "reused"):
                yield from _numbers(one, f"{at}.{name}")
    elif isinstance(value, list):
        runs = all(isinstance(one, dict) and "run" in one for one in value)
        for number, one in enumerate(value):
            yield from _numbers(one, at if runs else f"{at}.{number}")
    elif isinstance(value, int | float):
        yield f"{at}={value}"


def results(runs: Path) -> dict[str, Any]:
    """Every finished run by its folder's name: scores and codes. One whose files are not whole fails."""
    from hashzoo.benches.records import check_files
    from hashzoo.benches.track import read_result
    from hashzoo.codes import load_codes

    found = {}
    for path in sorted(runs.glob("*/*/*/result.json")):
        result = read_result(path)
        check_files(path.parent, result, content=True)
        codes = {name: one.digest() for name, one in load_codes(path.with_name("codes.npz")).items()}
        found[path.parent.name] = {"codes": codes, "scores": result["scores"], "health": result["health"]}
    return found


def files(folder: Path) -> dict[str, Any]:
    """The content of every file of a folder by its path, but of locks, and of what a killed process had begun."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.endswith((".lock", ".part"))
    }


def trainings(folder: Path) -> list[tuple[str, float, float]]:
    """What was trained by commands in a folder: names of runs, with the times of start and end."""
    return [tuple(json.loads(line)) for line in Path(f"{folder}.trained").read_text().splitlines()]


def _noted(folder: str) -> None:
    """Note down what is trained in this process."""
    from hashzoo.benches import run

    plain = run.train_cell
    log = os.open(f"{folder}.trained", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def train_cell(bench: Any, planned: Any, *rest: Any) -> Any:
        start = time.time()
        result = plain(bench, planned, *rest)
        os.write(log, (json.dumps([planned.folder.name, start, time.time()]) + "\n").encode())
        return result

    run.train_cell = train_cell


def _watched_clock(jumped: list[int]) -> None:
    """Let this process see the time of day that is `jumped` seconds away; time that only passes does not jump."""
    seconds, nanoseconds = time.time, time.time_ns
    time.time = lambda: seconds() + jumped[0]
    time.time_ns = lambda: nanoseconds() + jumped[0] * 10**9


def _child(folder: str, words: list[str], fault: Fault, called: str) -> None:
    """A command, in a process of its own; it does not come back."""
    _noted(folder)
    os.chdir(folder)
    os.environ["HASHZOO_CACHE"] = f"{folder}/cache"
    for number, name in ((1, ".out"), (2, ".err")):
        os.dup2(os.open(f"{folder}{called}{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    counted = [0]
    report = os.open(f"{folder}{called}.changes", os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    inside = f"{folder}/"
    jumped = [0]
    _watched_clock(jumped)

    def hook(name: str, arguments: tuple[Any, ...]) -> None:
        if name == "open":
            if not (isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)):
                return
        elif name not in CHANGES:
            return
        path = os.path.abspath(os.fsdecode(arguments[0])) if isinstance(arguments[0], str | bytes | os.PathLike) else ""
        if not path.startswith(inside):
            return
        counted[0] += 1
        os.pwrite(report, str(counted[0]).encode(), 0)
        if fault.jump and counted[0] >= fault.event:
            jumped[0] = fault.jump
            if name == "os.rename" and os.path.exists(path):
                os.utime(path, (time.time(), time.time()))
            return
        if fault.event and fault.signal and counted[0] == fault.event:
            os.kill(os.getpid(), SIGNALS[fault.signal])
        if fault.event and fault.refuse and counted[0] >= fault.event and name in REFUSED:
            raise OSError(fault.refuse, os.strerror(fault.refuse))

    sys.addaudithook(hook)
    if fault.seconds:
        if fault.signal == "INT":
            signal.signal(signal.SIGPROF, lambda number, frame: os.kill(os.getpid(), signal.SIGINT))
        signal.setitimer(signal.ITIMER_PROF, fault.seconds)
    if fault.size:
        resource.setrlimit(resource.RLIMIT_FSIZE, (fault.size, fault.size))
    os.fsync = lambda descriptor: None  # the system keeps what a killed process wrote; waiting for the disk takes long
    sys.argv = ["hashzoo", *words]
    code = 1
    try:
        from hashzoo.cli import main

        main()
    except SystemExit as ended:
        code = int(ended.code or 0)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        with contextlib.suppress(BaseException):
            sys.stdout.flush()
        os._exit(code)


def _ended(number: int) -> tuple[int, resource.struct_rusage]:
    """Status and usage of a child when it has ended; SIGALRM ends it after LIMIT seconds in which the machine ran."""
    waited = 0.0
    while True:
        found, status, usage = os.wait4(number, os.WNOHANG)
        if found:
            return status, usage
        time.sleep(0.005)
        waited += 0.005
        if waited > LIMIT:
            os.kill(number, signal.SIGALRM)
            waited = 0


def _serve() -> None:
    """Answer the questions of a Nursery."""
    # All that commands import, so that children need not; nothing here starts a thread.
    import duckdb  # noqa: F401
    import hashzoo_shallow.ccaitq  # noqa: F401
    import numba
    import pandas  # noqa: F401
    import pyarrow.parquet
    import pydantic
    import rich.console  # noqa: F401

    import hashzoo.benches.benchmark
    import hashzoo.benches.run
    import hashzoo.cli.bench
    import hashzoo.cli.watch
    import hashzoo.data.files
    import hashzoo.data.scenes
    import hashzoo.data.verify
    import hashzoo.encoders.bow
    import hashzoo.evaluator.bit_slices
    import hashzoo.evaluator.scoring
    import hashzoo.inference.filling
    import hashzoo.inference.model
    import hashzoo.losses
    import hashzoo.report.bundle
    import hashzoo.report.formats
    import hashzoo.report.pivot_formats
    import hashzoo.runners.local
    import hashzoo.scan
    import hashzoo.search.hits
    import hashzoo.search.tables
    import hashzoo.zoo

    pyarrow.set_cpu_count(1)
    hashzoo.zoo.load()
    # Both import most of themselves when they are used first.
    numba.njit(lambda: 0)()
    pydantic.TypeAdapter(int)
    started: dict[int, str] = {}
    for line in sys.stdin:
        question = json.loads(line)
        if "start" in question:
            asked = question["start"]
            number = os.fork()
            if not number:
                _child(asked["folder"], asked["words"], Fault(**asked["fault"]), asked["called"])
            started[number] = asked["folder"] + asked["called"]
            print(number, flush=True)
            continue
        number = question["wait"]
        status, usage = _ended(number)
        folder = started.pop(number)
        out, err, changes = (Path(f"{folder}{name}").read_text() for name in (".out", ".err", ".changes"))
        code = os.waitstatus_to_exitcode(status)
        seconds = usage.ru_utime + usage.ru_stime
        ended = Ended(code, int(changes or 0), seconds, out, err)
        print(json.dumps(asdict(ended)), flush=True)


if __name__ == "__main__":
    _serve()
