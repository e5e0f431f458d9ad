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
            done = 0

            def advance(count: int = 1) -> None:
                nonlocal done
                done += count
                rate = done / max(time.perf_counter() - start, 1e-9)
                bar.update(task, advance=count, rate=f"{rate:,.0f} {unit}/s")

            yield advance
    else:
        print(f"{description}: {total:,} {unit} ...", file=sys.stderr, flush=True)
        yield lambda count=1: None
    seconds = time.perf_counter() - start
    print(
        f"{description}: {total:,} {unit} in {seconds:.1f} s ({total / max(seconds, 1e-9):,.0f} {unit}/s)",
        file=sys.stderr,
        flush=True,
    )
