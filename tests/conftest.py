"""Every test has a cache and a working folder of its own; plugins are installed for one test at a time."""

from __future__ import annotations

import gc
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

# Work this small only loses by threads, most of all by such as spin on a busy machine; torch reads these when it is
# imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import pytest
from coverage import Coverage
from helpers import HERE, Outcome, Site, forget
from numba.core import event

from hashzoo import guard

# A shell's background job ignores Ctrl-C, and so would all processes that tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

collect_ignore = ["third_party"]  # packages with tests of their own; test_third_party.py runs those
VARIABLES = ("HASHZOO_ONLY", "HASHZOO_BLOCK", "HASHZOO_STRICT", "HASHZOO_DEBUG", "HASHZOO_FEATURES", "COLUMNS")
PLUGIN_LINE = r"hashzoo: plugin '\w+' \([\w. -]+\) is (broken|incompatible): "


def pytest_configure(config: pytest.Config) -> None:
    if config.pluginmanager.hasplugin("_cov"):
        event.register("numba:compile", Unmeasured())


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What slow tests run, fast ones run too; to be traced for the coverage takes a loop in Python twice its time."""
    for item in items:
        if item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.no_cover)


class Unmeasured(event.Listener):
    """No coverage is measured while numba compiles: none of it is our code, and traced it takes twice as long."""

    def __init__(self) -> None:
        self._depth, self._paused = 0, None

    def on_start(self, event: event.Event) -> None:
        if threading.current_thread() is threading.main_thread():
            self._depth += 1
            if self._depth == 1:
                self._paused = Coverage.current()
                if self._paused:
                    self._paused.stop()

    def on_end(self, event: event.Event) -> None:
        if threading.current_thread() is threading.main_thread():
            self._depth -= 1
            if self._depth == 0 and self._paused:
                self._paused.start()


@pytest.fixture(autouse=True)
def isolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cache, and the runs folder of a command that names none, lie in the test's own folder.

    Nobody waits for the disk: the system keeps what a killed process wrote, and no test cuts the power.
    """
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    monkeypatch.setenv("HASHZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    for name in VARIABLES:
        monkeypatch.setenv(name, "")  # so that one that the test sets, as `--debug` does, is taken away after it
        monkeypatch.delenv(name)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    forget(folder)
    yield Site(folder)
    forget(folder)


@pytest.fixture
def memory_files() -> Iterator[dict[str, Any]]:
    """What lies at memory://, by name; it is empty before each test."""
    files = pytest.importorskip("fsspec", reason="pip install 'hashzoo[remote]'").filesystem("memory")
    files.store.clear()
    yield files.store
    files.store.clear()


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Batches this small only lose by threads, most of all on a busy machine."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """Call it, and a plugin that hangs is ended after half a second.

    No garbage is collected meanwhile: what is raised in a callback of the collector, as hypothesis has one, is lost.
    No coverage is measured either: what is raised while its tracer holds its lock leaves the lock taken for good.
    """
    tracer = sys.gettrace()

    def soon() -> None:
        gc.disable()
        sys.settrace(None)
        monkeypatch.setattr(guard, "LIMIT", 0.5)
        monkeypatch.setattr(guard, "REPEAT", 0.1)

    yield soon
    sys.settrace(tracer)
    gc.enable()


@pytest.fixture
def tiny(site: Site) -> Site:
    """The plugin `tiny`: an image encoder that takes no time, and methods that use it."""
    site.install(HERE / "plugins_working" / "tiny")
    return site


@pytest.fixture
def served(tiny: Site, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Three collections by name, which a test may change (see serving.py)."""
    from serving import collections

    return collections(tmp_path_factory.mktemp("made"), tmp_path / "served")


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Run the command line as the installed script does, in this process."""
    from hashzoo.cli import main

    def run(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["hashzoo", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            main()
        captured = capsys.readouterr()
        return Outcome(int(stopped.value.code or 0), captured.out, captured.err)

    return run


@pytest.fixture
def sentence(command: Callable[..., Outcome]) -> Callable[..., str]:
    """Run a command that must be refused: one line on stderr, the exit code asked for, nothing on stdout."""

    def refused(*arguments: object, code: int = 2) -> str:
        outcome = command(*arguments)
        said = [line for line in outcome.err.splitlines() if not re.match(PLUGIN_LINE, line)]
        assert (outcome.code, len(said), outcome.out) == (code, 1, ""), outcome
        return said[0]

    return refused
