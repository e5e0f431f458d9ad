"""Shows how far a bench is: a line a cell, and on a terminal the epoch of the cell that is training."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from hashzoo.benchmark import Event


class Watch:
    """Called with each event of a bench; writes to `console`, which is stderr's."""

    def __init__(self, console: Console):
        self._console = console
        self._status = console.status("") if console.is_terminal else None
        self._running = False
        self._start = time.perf_counter()

    def __enter__(self) -> Watch:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def __call__(self, event: Event) -> None:
        cell = event.cell
        what = f"{event.number}/{event.total} {cell.method} {cell.encoders} {cell.bits} bits seed {cell.seed}"
        if event.kind == "start":
            self._start = time.perf_counter()
        elif event.kind == "epoch" and self._status is not None:
            from rich.text import Text

            terms = " ".join(
                f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}"
                for name, value in event.content.items()
            )
            self._status.update(Text(f"{what}: {terms}"))
            if not self._running:
                self._status.start()
                self._running = True
        elif event.kind == "done":
            self._stop()
            self._console.print(f"{what}: {self._outcome(event)}", highlight=False, markup=False, style="dim")

    def _outcome(self, event: Event) -> str:
        result = event.content
        if result["status"] != "ok":
            return f"failed: {result['reason']}"
        scores = result["scores"]
        seconds = "reused" if result["reused"] else f"{time.perf_counter() - self._start:.1f} s"
        return f"i2t {scores['i2t']['map']:.3f}  t2i {scores['t2i']['map']:.3f}  ({seconds})"

    def _stop(self) -> None:
        if self._status is not None and self._running:
            self._status.stop()
            self._running = False
