"""How much of the time in which SODA trains goes into something else than matrix products?

    python benchmarks/soda_cell.py [--quick] [--json]

A cell: SODA with its defaults on cached 512-wide features of 10,000 training pairs with 24 labels, 64 bits, 50 epochs
of the teacher and 50 of the student. Beside it the bare matrix products of its steps, forward and backward, with the
same shapes: those of the heads, of the pairs, and of the label vectors. CPU seconds of one thread; cell and products
in turn, so that neighbours on the machine disturb both alike, and the least of several. --quick takes 2 + 2 epochs,
in which what is done once a cell weighs more.

The products of a cell meet caches that its other work has filled, and take longer than the bare ones. How long is
measured by torch's profiler over 2 + 2 epochs, by the clock: `inside_s`, for all epochs. Only an idle machine tells.

`ratio` = cell_s / products_s; `ratio_inside` = cell_s / inside_s, at most 1.3 is the aim; cell_s at most 60.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import torch
from hashzoo_soda.trainer import SodaTrainer
from torch.profiler import ProfilerActivity, profile

from hashzoo.model import HashHead
from hashzoo.testing import toy_job

ROWS, CLASSES, WIDTH, HIDDEN, BITS = 10_000, 24, 512, 512, 64


def cell(epochs: int) -> float:
    """Train on features that follow from the labels."""
    toy = toy_job(
        bits=BITS,
        rows=ROWS,
        classes=CLASSES,
        widths={"image": {"pooled": WIDTH}, "text": {"pooled": WIDTH}},
        head=lambda **given: HashHead(hidden=HIDDEN, dropout=0.2, **given),
    )
    trainer = SodaTrainer(teacher_epochs=epochs, student_epochs=epochs)
    return cpu_seconds(lambda: trainer.fit(toy.job))


def products(epochs: int) -> float:
    """The matrix products of as many steps, on matrices that stay where they are."""
    batch = SodaTrainer().batch
    steps = epochs * -(-ROWS // batch)
    x, hidden, codes = (torch.randn(batch, width) for width in (WIDTH, HIDDEN, BITS))
    first, second = torch.randn(HIDDEN, WIDTH), torch.randn(BITS, HIDDEN)
    labels, theta = torch.randn(batch, CLASSES), torch.randn(batch, batch)

    def head() -> None:
        torch.mm(x, first.T)
        torch.mm(hidden, second.T)
        torch.mm(codes.T, hidden)  # backward: of the second weights, of what they take, of the first weights
        torch.mm(codes, second)
        torch.mm(hidden.T, x)

    def pairs(sides: int) -> None:
        torch.mm(labels, labels.T)
        torch.mm(codes, codes.T)
        for _ in range(sides):  # backward: of each side that is trained
            torch.mm(theta, codes)

    def run() -> None:
        for sides in (2, 1):
            for _ in range(steps):
                for _ in range(sides):
                    head()
                pairs(sides)

    return cpu_seconds(run)


def inside(epochs: int) -> float:
    """Seconds that the matrix products of a cell of so many epochs take inside the cell."""
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        cell(2)
    spent = sum(op.self_cpu_time_total for op in profiled.key_averages() if op.key in ("aten::mm", "aten::addmm"))
    return spent / 1e6 * epochs / 2


def cpu_seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="2 + 2 epochs")
    parser.add_argument("--repeat", type=int, default=3, help="how often; the least counts")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()

    torch.set_num_threads(1)
    cell(1), products(1)  # kernels are compiled, memory is warm
    epochs = 2 if arguments.quick else 50
    times = [(cell(epochs), products(epochs)) for _ in range(arguments.repeat)]
    cell_s, products_s = (min(column) for column in zip(*times, strict=True))
    inside_s = min(inside(epochs) for _ in range(arguments.repeat))
    result = {
        "cell_s": round(cell_s, 2),
        "products_s": round(products_s, 2),
        "ratio": round(cell_s / products_s, 3),
        "inside_s": round(inside_s, 2),
        "ratio_inside": round(cell_s / inside_s, 3),
    }
    if arguments.json:
        print(json.dumps(result))
    else:
        print(
            f"cell {cell_s:.2f} s; its matrix products bare {products_s:.2f} s, inside {inside_s:.2f} s: "
            f"{result['ratio']:.2f} and {result['ratio_inside']:.2f} times as long"
        )


if __name__ == "__main__":
    main()
