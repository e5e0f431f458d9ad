"""What a second worker brings: cells a minute with one worker and with two, in turn.

    python benchmarks/runners.py --runner processes --rounds 2

Each round trains the same cells in a runs folder of its own. Seconds are those between the first cell that starts and
the last that ends, so that the workers' own start, which a long bench does not notice, is told apart.
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
from dataclasses import dataclass

from hashzoo.benchmark import Event, bench


@dataclass
class Clock:
    """When the first cell of a method was started, and when the last had ended."""

    method: str
    begun: float = float("inf")
    ended: float = 0.0
    cells: int = 0

    def __call__(self, event: Event) -> None:
        if event.cell.method == self.method and event.kind == "start":
            self.begun = min(self.begun, time.perf_counter())
        if event.cell.method == self.method and event.kind == "done":
            self.ended = time.perf_counter()
            self.cells += 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runner", default="processes", choices=("processes", "ray"))
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--method", default="dcmh")
    parser.add_argument("--seeds", type=int, default=3)
    asked = parser.parse_args()
    print(f"{asked.runner}, load {os.getloadavg()[0]:.1f} on {len(os.sched_getaffinity(0))} processors")
    rates: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(asked.rounds):
        for workers, found in rates.items():
            clock, start, spent = Clock(asked.method), time.perf_counter(), _seconds_of_children()
            with tempfile.TemporaryDirectory() as runs:
                bench(
                    *([asked.method], [16, 32]),
                    dataset="scenes",
                    encoders="lite0+bow",
                    seeds=list(range(asked.seeds)),
                    runs=runs,
                    runner=asked.runner,
                    jobs=workers,
                    watch=clock,
                )
            whole, training = time.perf_counter() - start, clock.ended - clock.begun
            found.append(clock.cells * 60 / training)
            used = _seconds_of_children() - spent
            print(
                f"{workers} at a time: {clock.cells} cells in {training:.1f} s, {found[-1]:.1f} a minute; "
                f"{whole:.1f} s with the start; {used:.1f} CPU seconds of ended children",
                flush=True,
            )
    print(f"two workers: {max(rates[2]) / max(rates[1]):.2f} times the cells of one (best of {asked.rounds} rounds)")


def _seconds_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
