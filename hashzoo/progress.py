"""Progress on stderr: a bar on a terminal, two lines where there is none."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def progress(description: str, total: int, unit: str = "items") -> Iterator[Callable[[int], None]]:
    """Yield `advance(n)`. The bar shows the count, the rate in `unit`/s and the time left."""
    start = time.perf_counter()
    if sys.stderr.isatty():
        with _bar(description, total, unit, start) as advance:
            yield advance
    else:
        print(f"{description}: {total:,} {unit} ...", file=sys.stderr, flush=True)
        yield _nothing
    seconds = time.perf_counter() - start
    print(
        f"{description}: {total:,} {unit} in {seconds:.1f} s ({total / max(seconds, 1e-9):,.0f} {unit}/s)",
        file=sys.stderr,
        flush=True,
    )


@contextlib.contextmanager
def _bar(description: str, total: int, unit: str, start: float) -> Iterator[Callable[[int], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(description, total=total, rate="")

        def advance(count: int) -> None:
            bar.advance(task, count)
            done = bar.tasks[0].completed
            bar.update(task, rate=f"{done / max(time.perf_counter() - start, 1e-9):,.0f} {unit}/s")

        yield advance


def _nothing(count: int) -> None:
    """Advance nothing: there is no terminal to show it on."""


def say(remark: str) -> None:
    """One line on stderr."""
    print(remark, file=sys.stderr, flush=True)
