"""Tasks that are alike over Ray Data: a dataset of them, mapped by actors that hold what a worker has loaded.

Its blocks have a task each, so that a lost actor costs a try of the task that it had. Ray Data itself tries for ever:
here an actor asks first how often its task was begun, and one that was lost `TRIES` times is not begun again.
"""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from hashzoo.runners import TRIES

if TYPE_CHECKING:
    from hashzoo.runners import Task


class Actor:
    """Answers tasks, given and answered as columns of JSON."""

    def __init__(self, orders: str, turn: int, board: Any, tries: int):
        self._orders, self._turn, self._board, self._tries = orders, turn, board, tries

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        tasks = zip(batch["number"].tolist(), batch["words"].tolist(), strict=True)
        return {"number": batch["number"], "answer": [self._answer(number, words) for number, words in tasks]}

    def _answer(self, number: int, words: str) -> str:
        import ray

        from hashzoo.runners.ray_tasks import obey

        if ray.get(self._board.begin.remote(self._turn, number, uuid.uuid4().hex)) > self._tries:
            reason = f"its worker was lost {self._tries} times, often for lack of memory"
            words = json.dumps(json.loads(words) | {"do": "fail", "reason": reason})
        return obey(self._orders, words, self._turn, number, self._board)


def mapped(
    about: tuple[str, int, Any], words: Mapping[int, str], need: Task, jobs: int | None
) -> Iterator[tuple[int, str]]:
    """The answer to each task, by its number, as they come.

    Args:
        about: the orders of `worker.orders_for`, the turn, and the board.
        words: of the tasks.
        need: a task like all.
        jobs: how many actors there are; None: as many as fit.
    """
    from ray import data

    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = data.DataContext.get_current()
    before = context.enable_progress_bars, context.raise_original_map_exception
    context.enable_progress_bars, context.raise_original_map_exception = False, True
    most = min(len(words), jobs or len(words))
    try:
        rows = [{"number": number, "words": text} for number, text in words.items()]
        answers = data.from_items(rows, override_num_blocks=len(rows)).map_batches(
            Actor,
            fn_constructor_args=(*about, TRIES),
            batch_size=1,
            batch_format="numpy",
            compute=data.ActorPoolStrategy(min_size=1, max_size=most, max_tasks_in_flight_per_actor=1),
            num_cpus=need.threads,
            num_gpus=int(need.gpu),
        )
        for row in answers.iter_rows():
            yield int(row["number"]), str(row["answer"])
    finally:
        context.enable_progress_bars, context.raise_original_map_exception = before
