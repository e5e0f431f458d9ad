"""Shows how far a bench is: a line a cell, and on a terminal the epoch of the cell that is training."""

from __future__ import annotations

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

    def __enter__(self) -> Watch:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def __call__(self, event: Event) -> None:
        cell = event.cell
        swept = "".join(f" {setting.path}={setting.text}" for setting in cell.swept)
        what = f"{event.number}/{event.total} {cell.method}{swept} {cell.encoders} {cell.bits} bits seed {cell.seed}"
        what += f" ({event.track})" if event.track else ""
        if event.kind == "start" and "jobs" in event.content:
            self._show(f"training {event.content['cells']} cells, {event.content['jobs']} side by side")
        elif event.kind == "epoch":
            terms = " ".join(
                f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}"
                for name, value in event.content.items()
            )
            self._show(f"{what}: {terms}")
        elif event.kind == "done":
            self._console.print(f"{what}: {self._outcome(event)}", highlight=False, markup=False, style="dim")

    def _outcome(self, event: Event) -> str:
        result = event.content
        if result["status"] != "ok":
            return f"failed: {result['reason']}"
        scores = result["scores"]
        seconds = "reused" if result["reused"] else f"{sum(result['seconds'].values()):.1f} s"
        return f"i2t {scores['i2t']['map']:.3f}  t2i {scores['t2i']['map']:.3f}  ({seconds})"

    def _show(self, text: str) -> None:
        if self._status is None:
            return
        from rich.text import Text

        self._status.update(Text(text))
        if not self._running:
            self._status.start()
            self._running = True

    def _stop(self) -> None:
        if self._status is not None and self._running:
            self._status.stop()
            self._running = False
