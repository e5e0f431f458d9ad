"""Collections to be served, made once, and a service that listens."""

from __future__ import annotations

import contextlib
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import uvicorn
from helpers import SMALL

from hashzoo.benches.benchmark import bench
from hashzoo.inference import filling, items
from hashzoo.inference.model import load_model
from hashzoo.opening import open_dataset
from hashzoo.serve.limits import Guard
from hashzoo.serve.run import _listen, _Server
from hashzoo.settings import parse_assignments

_made: dict[str, Path] = {}  # by the tests of this process, once


def scenes():
    return open_dataset("scenes", parse_assignments(SMALL, []))


def collections(place: Path, copies: Path) -> dict[str, Path]:
    """Three collections: rows of a data set at two code lengths, and picture files, of which one is gone.

    They are made in `place` by the first who asks; everyone gets copies, which may be changed. The plugin `tiny` is
    installed.
    """
    if not _made:
        made = bench(["toy"], [16, 24], dataset="scenes", encoders="tiny+bow", settings=list(SMALL), threads=1)
        runs = {run["bits"]: Path(run["run"]) for run in made["results"] if run["method"] == "toy"}
        for name, bits in (("rows", 24), ("short", 16)):
            filling.fill(place / name, load_model(runs[bits]), items.rows_of_dataset(runs[bits]))
        (place / "pictures").mkdir()
        for row in range(4):
            scenes().image(row).save(place / "pictures" / f"{row}.png")
        filling.fill(place / "files", load_model(runs[16]), items.pictures_in(place / "pictures"), outputs=True)
        (place / "pictures" / "3.png").unlink()
        _made.update({name: place / name for name in ("rows", "short", "files")})
    return {name: Path(shutil.copytree(path, copies / name)) for name, path in _made.items()}


@contextlib.contextmanager
def listening(app: Guard) -> Iterator[str]:
    """The address of a service that runs in a thread."""
    ready = threading.Event()
    socket = _listen("127.0.0.1", 0)
    server = _Server(uvicorn.Config(app, log_level="warning", access_log=False))
    server.ready = ready.set
    server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign]
    thread = threading.Thread(target=server.run, kwargs={"sockets": [socket]}, daemon=True)
    thread.start()
    try:
        assert ready.wait(30), "the service has not started"
        yield f"http://127.0.0.1:{socket.getsockname()[1]}/"
    finally:
        server.should_exit = True
        thread.join(30)
        socket.close()
