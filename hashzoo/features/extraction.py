"""Running a frozen encoder over many rows: raw items are read and prepared side by side while the network runs.

On CPUs each worker thread takes a batch from the raw items to the features, with one thread inside the network:
decoding and network share the processors by themselves, nothing waits for anything else, and the features do not
depend on how many workers there are. On a GPU the workers prepare batches and the GPU takes them in order.
"""

from __future__ import annotations

import collections
import contextlib
import sys
import threading
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hashzoo.encoders.base import Encoder, Width
from hashzoo.errors import HashzooError
from hashzoo.processors import available_threads

CPU_BATCH = 16  # what fits into the caches of one processor; 64 rows take half as long again
GPU_BATCH = 256  # halved where the memory of the GPU does not suffice
TOLD = 10  # unreadable rows that are told one by one
ENDURED = 100  # unreadable rows after which something is wrong with all of them


@dataclass(frozen=True)
class Extraction:
    """How features are computed and kept.

    Attributes:
        device: where the network runs.
        batch: rows a batch; None is what suits the device.
        workers: threads that read and prepare raw items; None is one a processor.
        precision: of the network, "float32" or "bfloat16"; part of the encoder's card unless float32.
        stored: of the features in the cache, "float32" or "float16"; part of the card unless float32.
    """

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    batch: int | None = None
    workers: int | None = None
    precision: str = "float32"
    stored: str = "float32"

    @property
    def rows(self) -> int:
        """Rows a batch."""
        return self.batch or (CPU_BATCH if self.device.type == "cpu" else GPU_BATCH)

    def card(self) -> dict[str, str]:
        """What changes the features, where it is not as usual."""
        return {name: value for name in ("precision", "stored") if (value := getattr(self, name)) != "float32"}

    def place(self) -> dict[str, str]:
        """The GPU, whose features differ from those of CPUs in the last digits; nothing on a CPU."""
        return {"device": torch.cuda.get_device_name(self.device)} if self.device.type == "cuda" else {}


@torch.no_grad()
def features(encoder: Encoder, prepared: Tensor, widths: Mapping[str, Width], how: Extraction) -> Tensor:
    """A batch of prepared items, (B, ...), as (B, width) features on the CPU: named outputs side by side.

    Rows with sequences, which are long, are kept as float16 in any case.
    """
    prepared = prepared.to(how.device)
    # Convolutions in TF32, which torch allows itself on GPUs, would make "float32" untrue.
    exact = torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False)
    reduced = torch.autocast(how.device.type, dtype=torch.bfloat16, enabled=how.precision == "bfloat16")
    with exact if how.device.type == "cuda" else contextlib.nullcontext(), reduced:
        outputs = {"pooled": encoder(prepared)} if list(widths) == ["pooled"] else encoder.forward_outputs(prepared)
        row = torch.cat([outputs[name].float().flatten(1) for name in widths], dim=1)
    half = how.stored == "float16" or not all(isinstance(width, int) for width in widths.values())
    stored = row.cpu().to(torch.float16 if half else torch.float32)
    if half and not torch.equal(stored.isfinite(), row.isfinite().cpu()):
        advice = "leave out stored=float16" if how.stored == "float16" else "choose an encoder with smaller tokens"
        raise HashzooError(f"features go up to {row.abs().max().item():.3g}, which float16 cannot hold; {advice}")
    return stored


def blocks(
    ranges: Sequence[range],
    prepare: Callable[[int], Tensor],
    network: Callable[[Tensor], Tensor],
    how: Extraction,
    one_at_a_time: bool = False,
    noted: list[str] | None = None,
) -> Generator[tuple[range, np.ndarray], None, None]:
    """The values of each range of rows, in order.

    A range with an unreadable row is left out; the others are given all the same, and an error that names the
    rows is raised at the end; or, where there is a list `noted`, they are put into that. The other arguments are those
    of `readable`.
    """
    unreadable = Unreadable()
    for rows, _, values, faults in readable(ranges, prepare, network, how, one_at_a_time, partly=False):
        if values is not None:
            yield rows, values.numpy()
        if noted is not None:
            noted += faults.values()
            if len(noted) >= ENDURED:
                return
        elif unreadable.add(list(faults.values())):
            break
    unreadable.check()


class Unreadable:
    """Rows that cannot be read: the first few are told one by one on stderr, as they come."""

    def __init__(self) -> None:
        self._faults: list[str] = []

    def add(self, faults: list[str]) -> bool:
        """Add some, with their reasons; whether they are so many that going on makes no sense."""
        for fault in faults[: max(0, TOLD - len(self._faults))]:
            print(f"hashzoo: {fault}", file=sys.stderr)
        self._faults += faults
        return len(self._faults) >= ENDURED

    def check(self) -> None:
        """Raise where there was one."""
        if self._faults:
            more = f", and {len(self._faults) - 1:,} more rows like it" if len(self._faults) > 1 else ""
            raise HashzooError(
                f"{self._faults[0]}{more}; what is computed is kept, so that the same command goes on from there",
                exit_code=1,
            )


def readable(
    ranges: Sequence[range],
    prepare: Callable[[int], Tensor],
    network: Callable[[Tensor], Tensor],
    how: Extraction,
    one_at_a_time: bool = False,
    partly: bool = True,
) -> Generator[tuple[range, list[int], Tensor | None, dict[int, str]], None, None]:
    """For each range of rows, in order: the range, the rows that can be read, their values, and why others cannot.

    Args:
        ranges: at most `how.rows` rows each.
        prepare: a row number to a tensor; a HashzooError or an OSError says that the row cannot be read.
        network: a batch of prepared rows to what is wanted, on the CPU.
        one_at_a_time: whether `prepare` may not be called by two threads at once.
        partly: whether a range with an unreadable row has values all the same. Without readable rows there are none.
    """
    on_gpu = how.device.type != "cpu"
    turn = threading.Lock() if one_at_a_time else contextlib.nullcontext()

    def work(rows: range) -> tuple[list[int], Tensor | None, dict[int, str]]:
        prepared: dict[int, Tensor] = {}
        faults: dict[int, str] = {}
        for row in rows:
            try:
                with turn:
                    prepared[row] = prepare(row)
            except (HashzooError, OSError) as error:
                faults[row] = str(error)
        if not prepared or (faults and not partly):
            return [], None, faults
        batch = torch.stack(list(prepared.values()))
        return list(prepared), batch if on_gpu else network(batch), faults

    for rows, (kept, values, faults) in _in_order(work, ranges, how.workers or available_threads()):
        if on_gpu and values is not None:
            values = _on_gpu(network, values, split=how.batch is None)
        yield rows, kept, values, faults


def _in_order(work: Callable[[range], Any], ranges: Sequence[range], workers: int) -> Iterator[tuple[range, Any]]:
    """`work` of each range by worker threads, a few ahead of the consumer; one thread inside each operation."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # which new threads take over
    pool = ThreadPoolExecutor(workers, thread_name_prefix="hashzoo-extract")
    ahead: collections.deque[tuple[range, Future]] = collections.deque()
    try:
        for rows in ranges:
            ahead.append((rows, pool.submit(work, rows)))
            if len(ahead) > 2 * workers:
                first, future = ahead.popleft()
                yield first, future.result()
        while ahead:
            first, future = ahead.popleft()
            yield first, future.result()
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)


def _on_gpu(network: Callable[[Tensor], Tensor], batch: Tensor, split: bool) -> Tensor:
    """The network's output; where its memory does not suffice, of halves."""
    try:
        return network(batch)
    except torch.OutOfMemoryError:
        if not split or len(batch) == 1:
            raise
    half = len(batch) // 2
    return torch.cat([_on_gpu(network, part, split) for part in (batch[:half], batch[half:])])
