"""Tasks that are alike over Ray Data: a dataset of them, mapped by actors that hold what a worker has loaded.

Its blocks have a task each, so that a lost actor costs a try of the task that it had. Ray Data itself would try for
ever, and end everything for one block: here a block has `TRIES`, and those that are lost are left out.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from hashzoo.runners import TRIES

if TYPE_CHECKING:
    from hashzoo.runners import Task


class Actor:
    """Answers tasks, given and answered as columns of JSON."""

    def __init__(self, orders: str, turn: int, board: Any):
        self._orders, self._turn, self._board = orders, turn, board

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        from hashzoo.runners.ray_tasks import obey

        said = [
            obey(self._orders, str(one), self._turn, int(number), self._board)
            for number, one in zip(batch["number"], batch["words"], strict=True)
        ]
        return {"number": batch["number"], "answer": said}


def mapped(
    about: tuple[str, int, Any], words: Mapping[int, str], need: Task, jobs: int | None
) -> Iterator[tuple[int, str]]:
    """The answer to each task, by its number, as they come; those whose workers were lost `TRIES` times have none.

    Args:
        about: what `Actor` takes: the orders of `worker.orders_for`, the turn, and where it says what it does.
        words: of the tasks.
        need: a task like all.
        jobs: how many actors there are; None: as many as fit.
    """
    import ray.data as data

    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = data.DataContext.get_current()
    before = context.enable_progress_bars, context.max_errored_blocks
    context.enable_progress_bars, context.max_errored_blocks = False, -1
    most = min(len(words), jobs or len(words))
    try:
        rows = [{"number": number, "words": text} for number, text in words.items()]
        answers = data.from_items(rows, override_num_blocks=len(rows)).map_batches(
            Actor,
            fn_constructor_args=about,
            batch_size=1,
            compute=data.ActorPoolStrategy(min_size=1, max_size=most, max_tasks_in_flight_per_actor=1),
            num_cpus=need.threads,
            num_gpus=int(need.gpu),
            max_restarts=-1,
            max_task_retries=TRIES - 1,
        )
        for row in answers.iter_rows():
            yield int(row["number"]), str(row["answer"])
    finally:
        context.enable_progress_bars, context.max_errored_blocks = before
