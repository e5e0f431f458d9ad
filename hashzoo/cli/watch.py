"""Shows how far a bench is: a line a cell, and on a terminal the epoch of every cell that is training."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING

from hashzoo.runners import TRIES

if TYPE_CHECKING:
    from rich.console import Console

    from hashzoo.benches.benchmark import Event


class Watch:
    """Called with each event of a bench; writes to `console`, which is stderr's."""

    def __init__(self, console: Console):
        self._console = console
        self._status = console.status("") if console.is_terminal else None
        self._running = False
        self._about = ""  # the workers
        self._training: dict[int, str] = {}  # of each task in training, what is shown

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
        if event.kind == "workers":
            workers = event.content["workers"]
            side_by_side = f"{workers} side by side" if workers else "as many side by side as fit"
            self._about = f"training {event.content['cells']} cells by {event.content['runner']}, {side_by_side}"
        elif event.kind == "start":
            self._training[event.number] = what
        elif event.kind == "epoch":
            terms = " ".join(
                f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}"
                for name, value in event.content.items()
            )
            self._training[event.number] = f"{what}: {terms}"
        else:
            self._training.pop(event.number, None)
            self._console.print(f"{what}: {self._outcome(event)}", highlight=False, markup=False, style="dim")
        self._show()

    def _outcome(self, event: Event) -> str:
        result = event.content
        if event.kind == "lost":
            again = "trained again" if result["times"] < TRIES else "given up"
            return f"its worker was lost ({result['reason']}); {again}"
        if result["status"] != "ok":
            return f"failed: {result['reason']}"
        scores = result["scores"]
        took = sum(result["seconds"].values()) - result.get("taken_over", 0.0)
        seconds = "reused" if result["reused"] else f"{took:.1f} s"
        return f"i2t {scores['i2t']['map']:.3f}  t2i {scores['t2i']['map']:.3f}  ({seconds})"

    def shown(self) -> list[str]:
        """The workers, and all cells in training, a line each, as far as the terminal has lines."""
        lines = list(self._training.values())
        room = max(self._console.height - 4, 1)
        if len(lines) > room:
            lines[room:] = [f"and {len(lines) - room} more"]
        return [*filter(None, [self._about]), *lines]

    def _show(self) -> None:
        if self._status is None or not (self._training or self._running):
            return
        from rich.text import Text

        self._status.update(Text("\n".join(self.shown()), no_wrap=True, overflow="ellipsis"))
        if not self._running:
            self._status.start()
            self._running = True

    def _stop(self) -> None:
        if self._status is not None and self._running:
            self._status.stop()
            self._running = False
