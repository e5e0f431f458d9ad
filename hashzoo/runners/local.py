"""One cell after another, in this process."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hashzoo.plan import Plan
    from hashzoo.recipe import Cell
    from hashzoo.runners import Tell


class Local:
    """Trains here; a method that ends its process ends the bench."""

    def run(self, plans: Sequence[Plan], tasks: Mapping[int, tuple[int, Cell]], fresh: bool, tell: Tell) -> None:
        before: Plan | None = None
        for task, (number, cell) in tasks.items():
            plan = plans[number]
            if before is not None and before is not plan:
                before.close()
            before = plan
            tell("start", task, {})
            tell("done", task, plan.train(cell, fresh, functools.partial(tell, "epoch", task)))
