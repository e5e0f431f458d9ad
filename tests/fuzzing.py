"""Every file format that hashzoo reads, fed with files that nobody meant.

Whatever a file holds, reading it gives a result or a HashzooError, within SECONDS and without MEMORY. test_fuzz.py
feeds a few files each time, which hypothesis draws; `benchmarks/fuzz.py` is the campaign, in which atheris looks for
files that reach new code.
"""

from __future__ import annotations

import contextlib
import functools
import io
import json
import os
import random
import resource
import shutil
import signal
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from fuzz_changes import (
    change_array,
    change_arrays,
    change_bundle,
    change_bytes,
    change_json,
    change_json_lines,
    change_lines,
    change_manifest,
    change_members,
    change_parquet,
    change_tar,
    change_toml,
)

from hashzoo.errors import HashzooError

SECONDS = 5
MEMORY = 2**30
SMALL = ["dataset.pairs=100", "dataset.pixels=16", "dataset.difficulty=0"]


class Late(BaseException):
    """It takes too long. Nothing that reads files catches it."""


@dataclass(frozen=True)
class Format:
    """A file format.

    Attributes:
        seeds: whole files of it.
        read: reads a file, of which the content is given, as commands do.
        change: makes another file of one by so many changes, not byte by byte but as its content is built.
    """

    seeds: list[bytes]
    read: Callable[[bytes], None]
    change: Callable[[bytes, random.Random, int], bytes]


def mutated(form: Format, rng: random.Random, among: list[bytes] | None = None) -> bytes:
    """A whole file, or one of those `among` which it is drawn, with changes of content, perhaps with bytes changed."""
    content = rng.choice(among or form.seeds)
    with contextlib.suppress(Exception):  # what is changed already may be no file any more
        content = form.change(content, rng, rng.choice((0, 1, 1, 1, 2, 3)))
    return change_bytes(content, rng, rng.randint(1, 4)) if rng.random() < 0.3 else content


def feed(form: Format, content: bytes) -> str:
    """Read one file; the sentence of its refusal, or why its run was left out of a report, or ""."""

    passed = [0]

    def late(number: int, frame: object) -> None:
        passed[0] += 1
        if number == signal.SIGPROF or passed[0] == 20:
            raise Late(f"no end after {SECONDS} s")

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    usual = signal.signal(signal.SIGPROF, late), signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)  # of the processor: another process may have it meanwhile
    signal.setitimer(signal.ITIMER_REAL, SECONDS, SECONDS)  # told twenty times; a machine that is stopped tells once
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            form.read(content)
        return ""
    except HashzooError as error:
        left_out = next((line for line in said.getvalue().splitlines() if "left out: " in line), "")
        return left_out or str(error) or "a refusal without a reason"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, usual[0])
        signal.signal(signal.SIGALRM, usual[1])
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
        assert grown < MEMORY, f"{grown:,} bytes of memory"


def formats(place: Path) -> dict[str, Format]:
    """All formats by name; whole files are made below `place`. The plugin `tiny` must be there, and a cache."""
    place.mkdir(parents=True, exist_ok=True)
    made = _Material(place)
    found = {
        "run": Format(made.of("run.json"), made.report("run.json"), change_json),
        "result": Format(made.of("result.json"), made.report("result.json"), change_json),
        "reason": Format(made.of("error.txt"), made.report("error.txt"), change_bytes),
        "track": Format(made.of_tracks("track.json"), made.tracks("track.json"), change_json),
        "opened": Format(made.of_tracks("dataset.json"), made.tracks("dataset.json"), change_json),
        "rounds": Format(made.of("rounds.json"), made.rounds, change_json),
        "log": Format(made.of("train.jsonl"), made.logs, change_json_lines),
        "codes": Format(made.of("codes.npz"), made.codes, change_arrays),
        "labels": Format(made.of_tracks("labels.npz"), made.tracks("labels.npz"), change_arrays),
        "precisions": Format(made.of("per_query.npz"), made.report("per_query.npz"), change_arrays),
        "manifest": Format([(made.prepared / "manifest.json").read_bytes()], made.manifests, change_json),
        "texts": Format([(made.prepared / "texts.jsonl").read_bytes()], made.rows("texts.jsonl"), change_json_lines),
        "rows": Format([(made.prepared / "labels.npy").read_bytes()], made.rows("labels.npy"), change_array),
        "bench": Format(made.bench_files(), made.bench_file, change_toml),
        "csv": Format(made.tables("csv"), made.table("csv"), change_lines),
        "jsonl": Format(made.tables("jsonl"), made.table("jsonl"), change_json_lines),
        "parquet": Format(made.tables("parquet"), made.table("parquet"), change_parquet),
        "zip": Format([made.archive()], made.unpacked("zip"), change_members),
        "tar": Format(made.tars(), made.unpacked("tar"), change_tar),
        "bundle": Format(made.bundles(), made.checked, change_bundle),
        "collection": Format([(made.collection / "manifest.json").read_bytes()], made.collections, change_manifest),
    }
    made.whole.update(content for form in found.values() for content in form.seeds)
    return found


class _Material:
    """Whole files, and how commands read them."""

    def __init__(self, place: Path):
        from hashzoo import bench
        from hashzoo.data.base import Splits
        from hashzoo.data.prepared import Rows, write_prepared
        from hashzoo.data.stream import Stream
        from hashzoo.search import Collection

        self.place, self.runs, self.trial = place, place / "runs", place / "trial"
        common = {"dataset": "scenes", "encoders": "tiny+bow", "settings": SMALL, "threads": 1, "runs": self.runs}
        outcome = bench(["toy", "fragile"], [8, 32], **common)
        streamed = bench(["toy"], [8], stream=Stream(chunk=40, database_codes="recomputed"), **common)
        self.run = Path(outcome["results"][0]["run"])
        self.streamed = Path(streamed["results"][0]["run"])
        (self.failed,) = (Path(one["run"]) for one in outcome["results"] if one["status"] == "failed")
        self.track = self.run.parents[1]
        runs = [path.parent for path in self.runs.glob("*/*/*/run.json")]
        self.keys = {json.loads((run / "run.json").read_text())["key"].encode(): run for run in runs}
        self.prepared = place / "prepared"
        order = np.arange(12)
        splits = Splits(train=order[4:], query=order[:4], database=order[4:], rule="in order")
        labels = np.arange(24).reshape(12, 2) % 3 == 0
        features = {"image": np.ones((12, 3), np.float32)}
        write_prepared(
            self.prepared, "files/x", Rows(["a", "b"], labels, splits, texts=["t"] * 12, features=features), "free"
        )
        self.collection = place / "collection"
        collection = Collection.create(self.collection, 8, outputs=True, model={"run.json": b"{}"})
        values = np.random.default_rng(0).standard_normal((9, 8))
        from hashzoo.codes import pack

        collection.append(pack(values), metadata={"name": [f"n{n}" for n in range(9)]}, outputs=values)
        collection.delete([4])
        self.whole: set[bytes] = set()
        self.process = os.getpid()
        self.copies: dict[Path, Path] = {}
        self.changed: tuple[Path, bytes] | None = None
        self.collected: dict[Path, list[dict[str, Any]]] = {}
        self.logged = place / "logged"
        shutil.copytree(self._few(self.run), self.logged)
        path = self.logged / self.run.relative_to(self.runs) / "result.json"
        result = json.loads(path.read_text())
        result.pop("files")  # so that another log than that which was written is read at all
        path.write_text(json.dumps(result))
        self.pictures = place / "pictures"
        self.pictures.mkdir(exist_ok=True)
        from PIL import Image

        for number in range(12):
            Image.new("RGB", (3, 3), (20 * number, 0, 0)).save(self.pictures / f"{number}.png")

    def _seldom(self, content: bytes, each: int = 8) -> bool:
        """Whether a file does not go the whole way, which each eighth does, the same ones each time, and every seed."""
        return content not in self.whole and zlib.crc32(content) // 64 % each > 0

    def of(self, name: str) -> list[bytes]:
        """Files of one name, of runs of every kind."""
        return [path.read_bytes() for path in sorted(self.runs.glob(f"*/*/*/{name}"))]

    def of_tracks(self, name: str) -> list[bytes]:
        """Files of one name, of a track and of an online one."""
        return [(run.parents[1] / name).read_bytes() for run in (self.run, self.streamed)]

    def _owner(self, content: bytes) -> Path:
        """The folder of the run that a file was made of, as far as one can tell."""
        return next((run for key, run in self.keys.items() if key in content), self.run)

    def _few(self, run: Path, others: int = 1) -> Path:
        """A runs folder that holds a run, and so many others of its track, of `toy` if it can be."""
        few = self.place / f"few-{others}" / f"{run.parents[1].name}-{run.parent.name}-{run.name}"
        if not few.exists():
            among = [one for one in self.keys.values() if one.parents[1] == run.parents[1] and one != run]
            among.sort(key=lambda one: (one.parent.name != "toy", one))
            shutil.copytree(run.parents[1], few / run.parents[1].name, ignore=lambda folder, _: self._other(folder))
            for one in (run, *among[:others]):
                shutil.copytree(one, few / one.relative_to(self.runs))
        return few

    def _among(self, run: Path, content: bytes) -> Path:
        """A runs folder that holds a run: alone, among a few each eighth time, and among all each 64th."""
        drawn = zlib.crc32(content)
        return self._few(run, 0) if drawn % 8 else self._few(run) if drawn % 64 else self.runs

    def _other(self, folder: str) -> list[str]:
        """The folders of a track."""
        return [path.name for path in Path(folder).iterdir() if path.is_dir()]

    def _copied(self, folder: Path, name: str, content: bytes) -> Path:
        """A copy of a folder in which one file is another. It is made once; the next call puts the file right.

        A process that was forked has copies of its own.
        """
        if self.process != os.getpid():
            self.process, self.copies, self.changed = os.getpid(), {}, None
        if folder not in self.copies:
            self.copies[folder] = Path(tempfile.mkdtemp(dir=self.place)) / "copy"
            shutil.copytree(folder, self.copies[folder])
        path = self.copies[folder] / name
        if self.changed and self.changed[0] != path:
            _put(*self.changed)
            self.changed = None
        self.changed = self.changed or (path, path.read_bytes())
        _put(path, content)
        return self.copies[folder]

    def report(self, name: str) -> Callable[[bytes], None]:
        """Runs as reports read them, up to a table; what else is made of them each eighth time."""

        def read(content: bytes) -> None:
            from hashzoo.benches.reproduction import read_run
            from hashzoo.report import collect, frame, join_folds, make_costs, make_table, pivot, significance
            from hashzoo.report.formats import latex, markdown
            from hashzoo.report.html.provenance import provenance

            owner = self.failed if name == "error.txt" else self._owner(content)
            beside = owner.relative_to(self.runs)
            runs = self._copied(self._among(owner, content), str(beside / name), content)
            if name == "per_query.npz":  # which `collect` does not read
                found = self.collected.get(runs) or self.collected.setdefault(runs, collect(runs))
            else:
                found = collect(runs)
            for item in join_folds(found):
                values = significance.per_query(item["results"])
                table = make_table(item, significance.as_good_as_best(values))
                markdown(table)
            if self._seldom(content):
                return
            latex(table)
            make_costs(item)
            frame(found).to_csv()
            with contextlib.suppress(HashzooError):  # not every method has it
                pivot(found, ["trainer.epochs"])
            for item in found:
                provenance(item["track"], item["results"])
            read_run(runs / beside)

        return read

    def tracks(self, name: str) -> Callable[[bytes], None]:
        """A track as it is opened again, and each eighth time reported and scored; each fourth of its labels."""

        def read(content: bytes) -> None:
            from hashzoo.benches.reopening import opened_as
            from hashzoo.benches.rounds import score_run
            from hashzoo.benches.track import Track
            from hashzoo.report import collect, make_table
            from hashzoo.report.formats import markdown

            online = b'"stream"' in content if name == "track.json" else zlib.crc32(content) % 4 == 0
            run = self.streamed if online else self.run
            place = run.parents[1].relative_to(self.runs)
            runs = self._copied(self._few(run), str(place / name), content)
            if not self._seldom(content):
                with contextlib.suppress(HashzooError):
                    for item in collect(runs):
                        markdown(make_table(item))
            opened_as(runs / place)
            track = Track.load(runs / place)
            if not self._seldom(content, 4 if name == "labels.npz" else 8):
                score_run(track, runs / run.relative_to(self.runs))

        return read

    def logs(self, content: bytes) -> None:
        from hashzoo.report import collect
        from hashzoo.report.figures.material import Material
        from hashzoo.report.figures.style import looks
        from hashzoo.report.figures.training import read_history

        place = self.run.relative_to(self.runs)
        runs = self._copied(self.logged, str(place / "train.jsonl"), content)
        found = self.collected.get(runs) or self.collected.setdefault(runs, collect(runs))  # which reads no log
        for item in found:
            material = Material(item, looks(found))
            for one in material.results:
                read_history(material.log(one))

    def codes(self, content: bytes) -> None:
        from hashzoo.benches.rounds import score_run
        from hashzoo.codes import health, load_codes

        folder = self._copied(self.run, "codes.npz", content)
        for codes in load_codes(folder / "codes.npz").values():
            if len(codes):
                health(codes)
        if not self._seldom(content, 2):
            score_run(self._track(self.run), folder)

    def rounds(self, content: bytes) -> None:
        from hashzoo.benches.rounds import score_run

        track = self._track(self.streamed)
        track.score = lambda codes: ({}, {})  # type: ignore[method-assign]  # of codes that are whole, in any case
        score_run(track, self._copied(self.streamed, "rounds.json", content))

    @functools.cache  # noqa: B019
    def _track(self, run: Path) -> Any:
        from hashzoo.benches.track import Track

        return Track.load(run.parents[1])

    def rows(self, name: str) -> Callable[[bytes], None]:
        def read(content: bytes) -> None:
            from hashzoo.data.prepared import Prepared

            data = Prepared(self._copied(self.prepared, name, content), "hashzoo datasets prepare x")
            data.check(True)
            assert all(isinstance(data.text(row), str) for row in range(len(data)))
            data.labels.sum(axis=0)

        return read

    def manifests(self, content: bytes) -> None:
        from hashzoo.data.prepared import Prepared

        data = Prepared(self._copied(self.prepared, "manifest.json", content), "hashzoo datasets prepare x")
        data.check(True)
        data.fingerprint()
        for row in range(len(data)):
            data.text(row)

    def bench_files(self) -> list[bytes]:
        root = Path(__file__).resolve().parents[1]
        paths = [root / "benchmarks" / "label_noise.toml", *sorted((root / "benchmarks" / "studies").glob("*.toml"))]
        return [path.read_bytes() for path in paths]

    def bench_file(self, content: bytes) -> None:
        from hashzoo.benches.bench_file import read_bench_file
        from hashzoo.benches.benchmark import Request

        path = self.place / "bench.toml"
        path.write_bytes(content)
        for asked in read_bench_file(path, {})[0]:
            Request(**asked).check()

    def tables(self, kind: str) -> list[bytes]:
        rows = [
            {"image": f"{n % 3}.png", "text": f"picture {n}, red", "labels": "a;b" if n % 2 else "a", "id": n}
            for n in range(8)
        ]
        if kind == "jsonl":
            return ["\n".join(json.dumps(row | {"labels": row["labels"].split(";")}) for row in rows).encode()]  # type: ignore[attr-defined]
        import pandas

        frame = pandas.DataFrame(rows)
        return [frame.to_csv(index=False).encode() if kind == "csv" else frame.to_parquet(index=False)]

    def table(self, kind: str) -> Callable[[bytes], None]:
        """A table as items are read from it, and up to the rows of a data set, which is stored each eighth time."""

        def read(content: bytes) -> None:
            from hashzoo.data.table import settings_of
            from hashzoo.data.table_build import build
            from hashzoo.data.table_open import open_source
            from hashzoo.inference.items import rows_of_table
            from hashzoo.opening import open_dataset
            from hashzoo.settings import parse_assignments

            path = self.pictures / f"table.{kind}"
            path.write_bytes(content)
            cache = Path(os.environ["HASHZOO_CACHE"]) / "datasets"
            for known in (cache / "seen").glob("*"):
                known.unlink()
            with contextlib.suppress(HashzooError):
                rows_of_table(path)
            if self._seldom(content):
                build(open_source(path), "", settings_of({"separator": ";"}), self.pictures, cache)
                return
            shutil.rmtree(cache, ignore_errors=True)
            data = open_dataset(f"table:{path}", parse_assignments(["dataset.separator=;"], []))
            data.check(True)
            data.text(0)

        return read

    def archive(self) -> bytes:
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
            for name in ("a/1.txt", "a/2.txt", "b.txt"):
                archive.writestr(name, name * 50)
        return out.getvalue()

    def tars(self) -> list[bytes]:
        found = []
        for mode in ("w", "w:gz", "w:xz", "w:bz2"):
            out = io.BytesIO()
            with tarfile.open(fileobj=out, mode=mode) as archive:  # type: ignore[call-overload]
                archive.add(self.prepared, "x")
            found.append(out.getvalue())
        return found

    def unpacked(self, kind: str) -> Callable[[bytes], None]:
        def read(content: bytes) -> None:
            from hashzoo.data.archives import unpack

            shutil.rmtree(self.trial, ignore_errors=True)
            path = self.place / f"archive.{kind}"
            path.write_bytes(content)
            before = {path for path in self.place.iterdir() if path != self.trial}
            try:
                unpack(path, self.trial, 2**24, 1000)
            finally:
                assert {path for path in self.place.iterdir() if path != self.trial} == before
                assert not [path for path in self.trial.rglob("*") if path.is_symlink()]

        return read

    def bundles(self) -> list[bytes]:
        """Of two runs, of which one has failed, and of a run on a stream: every score is computed again."""
        from hashzoo.report import collect
        from hashzoo.report.bundle import write_bundle

        found = []
        for run in (self.failed, self.streamed):
            with contextlib.redirect_stderr(io.StringIO()):
                write_bundle(collect(self._few(run, 0)), self.place / "whole.zip")
            found.append((self.place / "whole.zip").read_bytes())
        return found

    def checked(self, content: bytes) -> None:
        from hashzoo.report.bundled import unpacked

        path = self.place / "bundle.zip"
        path.write_bytes(content)
        with unpacked(path):
            pass

    def collections(self, content: bytes) -> None:
        import hashzoo.search

        collection = hashzoo.search.open(self._copied(self.collection, "manifest.json", content))
        collection.verify()
        # A condition starts an engine of SQL, which takes ten times as long as all the rest.
        where = None if self._seldom(content) else "name != 'n1'"
        answer = collection.query(np.ones((1, collection.bits)), k=3, where=where)
        if not self._seldom(content, 4):
            answer.metadata()


def _put(path: Path, content: bytes) -> None:
    """Write a file anew, so that nobody takes it for that which was there."""
    path.unlink()
    path.write_bytes(content)


def ready(place: Path) -> dict[str, Format]:
    """All formats, for a campaign: with a cache of its own, and the plugin `tiny`."""
    import sys

    from helpers import HERE, Site, forget

    site = Site(place / "site")
    site.folder.mkdir(parents=True)
    site.install(HERE / "plugins_working" / "tiny")
    sys.path.insert(0, str(site.folder))
    forget(site.folder)
    os.environ["HASHZOO_CACHE"] = str(place / "cache")
    with contextlib.redirect_stderr(io.StringIO()):
        return formats(place / "files")
