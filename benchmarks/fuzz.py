"""Looks for files that hashzoo cannot read and does not refuse: a campaign, which can be stopped and gone on with.

    python benchmarks/fuzz.py FORMAT [...] --folder FOLDER [--inputs 1000000] [--guided 20000] [--seconds S] [--json]
    python benchmarks/fuzz.py --read FOLDER or FILE.json [--json]

FORMAT is one of those in tests/fuzzing.py (`python benchmarks/fuzz.py list`), or all. Files are changed as their
content is built, and byte by byte. Of each format `--guided` inputs are led by the code that they reach: atheris keeps
those that reach new code in FOLDER/FORMAT/corpus (`pip install atheris`). The rest are changed from that corpus and
from whole files, without the instrumentation, which makes them several times faster. None is fed twice in a part.

A file that raises anything but a HashzooError, takes longer than 5 s of CPU time or more than 1 GB, or ends the
process, is a finding: it is kept in FOLDER/FORMAT/findings with what it raised, once for each place in the code, and
the exit code is 1. Each start adds a part to FOLDER/FORMAT/parts, of which at most a second is lost when it is killed;
the same command goes on until each format has had as many inputs. `--read` adds the parts up, and prints them as a
table or as JSON.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import functools
import importlib.metadata
import json
import mmap
import os
import platform
import random
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
ENDLESS_S = 60  # of CPU time without an input: code that never comes back to Python, where a signal could end it
MOST = 4 * 2**30  # bytes of private memory, beyond which the system gives no more
LONGEST = 300_000  # bytes of an input
KINDS = 400  # of refusals that are counted one by one
VARYING = re.compile(r"/\S+|'[^']*'|\"[^\"]*\"|[\d.,]*\d|[^ -~]")
PACKAGES = ("hashzoo", "atheris", "numpy", "pandas", "pyarrow", "duckdb", "torch", "pillow")


class Part:
    """What one process feeds, counted and written once a second; the input under way lies where it outlives it."""

    def __init__(self, place: Path, phase: str, seed: int):
        self.place, self.phase, self.seed = place, phase, seed
        self.inputs = self.read = 0
        self.refusals: Counter[str] = Counter()
        self.findings: Counter[str] = Counter()
        self.slowest = 0.0
        self.began, self.before = time.process_time(), forget_peak()
        self.seen: set[int] = set()
        self.told = time.monotonic()
        (place / "parts").mkdir(parents=True, exist_ok=True)
        self.path = place / "parts" / f"{seed}.json"
        with open(place / "now", "wb") as file:
            file.truncate(8 + 4 * LONGEST)
        with open(place / "now", "r+b") as file:
            self.now = mmap.mmap(file.fileno(), 0)

    def feed(self, form: Any, content: bytes) -> None:
        """Read one file, unless it has been there already."""
        import fuzzing

        if hash(content) in self.seen:
            return
        self.seen.add(hash(content))
        self.now[: 8 + len(content)] = len(content).to_bytes(8, "little") + content
        start = time.process_time()
        try:
            refusal = fuzzing.feed(form, content)
            if refusal:
                kind = VARYING.sub("", refusal)[:120]
                self.refusals[kind if kind in self.refusals or len(self.refusals) < KINDS else "others"] += 1
            else:
                self.read += 1
        except BaseException as error:
            self._keep(content, error)
        self.slowest = max(self.slowest, time.process_time() - start)
        self.inputs += 1
        if time.monotonic() > self.told + 1:
            self.tell()

    def _keep(self, content: bytes, error: BaseException) -> None:
        lines = traceback.extract_tb(error.__traceback__)
        at = next((line for line in reversed(lines) if "hashzoo" in line.filename), lines[-1])
        where = f"{type(error).__name__} at {Path(at.filename).name}:{at.lineno}"
        self.findings[where] += 1
        if self.findings[where] == 1:
            keep(self.place, where, content, "".join(traceback.format_exception(error)))

    def tell(self) -> None:
        """Write down what was fed up to now. Code that takes a minute from now on without an end ends the process."""
        self.told = time.monotonic()
        used = time.process_time()
        resource.setrlimit(resource.RLIMIT_CPU, (int(used) + ENDLESS_S, resource.RLIM_INFINITY))
        about = {
            **{"phase": self.phase, "seed": self.seed, "inputs": self.inputs, "read": self.read},
            "refusals": dict(self.refusals.most_common()),
            "findings": dict(self.findings),
            "slowest_s": round(self.slowest, 3),
            "peak_mb": memory(),
            "grown_mb": memory() - self.before,
            "cpu_s": round(used - self.began, 1),
            "versions": versions(),
        }
        beside = self.path.with_suffix(".part")
        beside.write_text(json.dumps(about), encoding="utf-8")
        beside.rename(self.path)


def forget_peak() -> int:
    """Measure the most memory from now on, where the system lets one (Linux); what there is now, in MB."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return memory()


def memory() -> int:
    """The most memory that this process had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


@functools.cache
def versions() -> dict[str, str]:
    words = ["git", "-C", str(ROOT), "describe", "--always", "--dirty"]
    commit = subprocess.run(words, capture_output=True, text=True, check=False).stdout.strip()
    found = {"commit": commit, "python": platform.python_version()}
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):  # atheris leads some phases alone
            found[name] = importlib.metadata.version(name)
    return found


def keep(place: Path, where: str, content: bytes, said: str) -> None:
    """Keep an input that is a finding."""
    name = re.sub(r"\W+", "-", where)
    (place / "findings").mkdir(parents=True, exist_ok=True)
    (place / "findings" / name).write_bytes(content)
    (place / "findings" / f"{name}.txt").write_text(said, encoding="utf-8", errors="replace")
    print(f"finding: {place / 'findings' / name}", file=sys.stderr, flush=True)


def ready(*names: str) -> dict[str, Any]:
    """Formats, of which whole files were read once: that may have to compile, and takes as long as it takes."""
    import fuzzing

    forms = fuzzing.ready(Path(tempfile.mkdtemp()))
    for content, form in ((content, forms[name]) for name in names for content in forms[name].seeds):
        form.read(content)
    return forms


def instrumented() -> Any:
    """A block whose imports of hashzoo tell atheris which code they reach. Compiled code stays as it is."""
    import atheris

    compiled = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in (ROOT / "hashzoo").rglob("*.py")
        if re.search(r"import numba|hashzoo\.kernels", path.read_text(encoding="utf-8"))
    ]
    return atheris.instrument_imports(include=["hashzoo"], exclude=compiled)


def look(form: Any, place: Path, inputs: int, seconds: int, seed: int) -> None:
    """Feed inputs that are led by the code that they reach; the process ends here."""
    import atheris
    import fuzzing

    corpus = place / "corpus"
    if not corpus.exists():
        corpus.mkdir(parents=True)
        rng = random.Random(seed)
        for number, content in enumerate([*form.seeds, *(fuzzing.mutated(form, rng) for _ in range(50))]):
            (corpus / f"{number}").write_bytes(content)

    def change(data: bytes, largest: int, drawn: int) -> bytes:
        mine = random.Random(drawn)
        if mine.random() < 0.3:
            return atheris.Mutate(data, largest)
        try:
            return form.change(data, mine, 1)[:largest]
        except Exception:  # changed bytes: no file of the format any more
            return atheris.Mutate(data, largest)

    part = Part(place, "guided", seed)

    def one(content: bytes) -> None:
        part.feed(form, content)
        if part.inputs >= inputs:
            part.tell()
            os._exit(0)  # libFuzzer would count those, too, that were there already

    words = [
        *(sys.argv[0], f"-runs={4 * inputs}", f"-max_total_time={seconds}", f"-seed={seed}"),
        *(f"-max_len={LONGEST}", "-len_control=0", "-timeout=0", "-rss_limit_mb=0"),
        *("-print_final_stats=1", f"-artifact_prefix={place}/", str(corpus)),
    ]
    atheris.Setup(words, one, custom_mutator=change)
    atheris.Fuzz()


def haste(form: Any, place: Path, inputs: int, seconds: int, seed: int) -> None:
    """Feed inputs that are changed from those of the corpus and from whole files."""
    import fuzzing

    corpus = [path.read_bytes() for path in sorted((place / "corpus").glob("*"))] or form.seeds
    rng, part, end = random.Random(seed), Part(place, "fast", seed), time.monotonic() + seconds
    while part.inputs < inputs and time.monotonic() < end:
        among = corpus if rng.random() < 0.5 else None
        part.feed(form, fuzzing.mutated(form, rng, among)[:LONGEST])
    part.tell()


def child(asked: argparse.Namespace) -> int:
    """A phase of formats, one after the other, each in a fork of its own; 1 if one of them did not come to its end."""
    resource.setrlimit(resource.RLIMIT_DATA, (MOST, MOST))
    faulthandler.enable()
    warnings.simplefilter("ignore")
    import numba
    import pyarrow

    numba.set_num_threads(1)  # files this small only lose by threads
    pyarrow.set_cpu_count(1)
    with instrumented() if asked.phase == "guided" else contextlib.nullcontext():
        forms = ready(*asked.formats)  # readers import what they need when they read: whole files bring all of it
    codes = []
    for name in asked.formats:
        place = asked.folder / name
        process = os.fork()
        if not process:
            code = 1
            try:
                feed = look if asked.phase == "guided" else haste
                feed(forms[name], place, missing(asked, name)[asked.phase], asked.seconds, len(parts_of(place)) + 1)
                code = 0
            except Exception:
                traceback.print_exc()
            finally:
                os._exit(code)
        codes.append(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]))
        if codes[-1] not in (0, -signal.SIGTERM):
            keep_last(place, codes[-1], (asked.folder / f"{asked.phase}.log").read_bytes()[-8000:])
    return int(any(codes))


def keep_last(place: Path, code: int, said: bytes) -> None:
    """Keep the input with which a process ended that should not have."""
    content = (place / "now").read_bytes() if (place / "now").exists() else bytes(8)
    keep(place, f"exit {code}", content[8 : 8 + int.from_bytes(content[:8], "little")], said.decode(errors="replace"))


def missing(asked: argparse.Namespace, name: str) -> dict[str, int]:
    """How many inputs a format lacks in each phase."""
    parts = parts_of(asked.folder / name)
    guided = sum(part["inputs"] for part in parts if part["phase"] == "guided")
    both = sum(part["inputs"] for part in parts)
    return {"guided": min(asked.guided, asked.inputs) - guided, "fast": asked.inputs - both}


def parts_of(place: Path) -> list[dict[str, Any]]:
    paths = sorted((place / "parts").glob("*.json"), key=lambda path: int(path.stem))
    return [json.loads(path.read_text(encoding="utf-8")) for path in paths]


def run(asked: argparse.Namespace, names: list[str]) -> bool:
    """Feed formats until they have had their inputs; whether every process came to its end."""
    asked.folder.mkdir(parents=True, exist_ok=True)
    codes = []
    for phase in ("guided", "fast"):
        left = [name for name in names if missing(asked, name)[phase] > 0]
        if not left:
            continue
        words = [sys.executable, __file__, *left, "--folder", str(asked.folder), f"--phase={phase}"]
        words += [f"--inputs={asked.inputs}", f"--guided={asked.guided}", f"--seconds={asked.seconds}"]
        with open(asked.folder / f"{phase}.log", "wb") as log, tempfile.TemporaryDirectory() as files:
            quiet = os.environ | {"NUMBA_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "TMPDIR": files}
            codes.append(subprocess.run(words, stdout=log, stderr=log, env=quiet, check=False).returncode)
    return not any(codes)


def summed(place: Path) -> dict[str, Any]:
    """All parts of a format."""
    parts = parts_of(place)
    refusals: Counter[str] = sum((Counter(part["refusals"]) for part in parts), Counter())
    kept = [path.stem for path in sorted((place / "findings").glob("*.txt"))] if (place / "findings").exists() else []
    return {
        "format": place.name,
        "inputs": sum(part["inputs"] for part in parts),
        "guided": sum(part["inputs"] for part in parts if part["phase"] == "guided"),
        "read": sum(part["read"] for part in parts),
        "kinds_of_refusal": len(refusals),
        "commonest_refusal": max(refusals.values(), default=0),
        "cpu_s": round(sum(part["cpu_s"] for part in parts), 1),
        "slowest_s": max((part["slowest_s"] for part in parts), default=0),
        "peak_mb": max((part["peak_mb"] for part in parts), default=0),
        "grown_mb": max((part["grown_mb"] for part in parts), default=0),
        "findings": kept,
    }


def record(folder: Path) -> dict[str, Any]:
    """What --json prints: of every format that there is in the folder, and by which versions it was fed."""
    from test_fuzz import NAMES

    places = [folder / name for name in NAMES if (folder / name / "parts").exists()]
    used = [part["versions"] for place in places for part in parts_of(place)]
    names = list(dict.fromkeys(name for one in used for name in one))
    by = {name: sorted({one[name] for one in used if name in one}) for name in names}
    return {"schema": 1, "versions": by, "formats": [summed(place) for place in places]}


def show(found: dict[str, Any]) -> None:
    """A table in Markdown."""
    columns = ["inputs", "guided", "read", "kinds of refusal", "slowest, s", "memory grew, MB", "CPU, min", "findings"]
    print(f"| format | {' | '.join(columns)} |")
    print(f"|---|{'---:|' * len(columns)}")
    for one in found["formats"]:
        share = one["read"] / max(one["inputs"], 1)
        print(
            f"| {one['format']} | {one['inputs']:,} | {one['guided']:,} | {share:.0%} | {one['kinds_of_refusal']} "
            f"| {one['slowest_s']:.2f} | {one['grown_mb']:,} | {one['cpu_s'] / 60:.1f} | {len(one['findings'])} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("formats", nargs="*", metavar="FORMAT")
    parser.add_argument("--folder", type=Path, help="where corpora, parts and findings are kept")
    parser.add_argument("--inputs", type=int, default=1_000_000, help="of each format, with those of earlier parts")
    parser.add_argument("--guided", type=int, default=20_000, help="how many of them are led by what they reach")
    parser.add_argument("--seconds", type=int, default=10**6, help="of each format in each phase, this time")
    parser.add_argument("--read", type=Path, help="feed nothing, and show a folder or what --json printed")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--phase", choices=("guided", "fast"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.phase:
        sys.exit(child(asked))
    from test_fuzz import NAMES

    if asked.formats == ["list"]:
        print("\n".join(NAMES))
        return
    good = True
    if asked.read:
        found = record(asked.read) if asked.read.is_dir() else json.loads(asked.read.read_text(encoding="utf-8"))
    else:
        names = list(NAMES) if asked.formats == ["all"] else asked.formats
        if not names or not asked.folder or not set(names) <= set(NAMES):
            parser.error(f"give a --folder, and choose from: all, {', '.join(NAMES)}")
        good = run(asked, names)
        found = record(asked.folder)
        good = good and not any(one["findings"] for one in found["formats"])
    if asked.json:
        print(json.dumps(found, indent=1))
    else:
        show(found)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
