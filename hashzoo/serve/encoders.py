"""Encoding queries: what comes in at one time goes through an encoder together, and models share encoders."""

from __future__ import annotations

import collections
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hashzoo.inference.model import Model
from hashzoo.storage.files import digest

TOGETHER = 16  # queries that go through an encoder together
REMEMBERED = 1024  # texts whose features are kept: the same search in several collections encodes once


@dataclass(eq=False)
class _Asked:
    model: Model
    item: Any
    outputs: Future[np.ndarray] = field(default_factory=Future)


class Encoding:
    """One encoder, one thread that runs it, and the queries that wait for it.

    Nobody waits for others to come: what has come while the encoder was at work goes through it together.

    Args:
        model: one of those that have this encoder.
        role: "image" or "text".
        batched: is told how many queries went together.
    """

    def __init__(self, model: Model, role: str, batched: Callable[[int], None] = lambda count: None):
        self._model, self._role, self._batched = model, role, batched
        self._waiting: queue.SimpleQueue[_Asked | None] = queue.SimpleQueue()
        self._known: collections.OrderedDict[str, Tensor] = collections.OrderedDict()
        self._thread = threading.Thread(target=self._work, name=f"hashzoo-{role}-encoder", daemon=True)
        self._thread.start()

    def ask(self, model: Model, item: Any) -> Future[np.ndarray]:
        """The real values, (1, bits), that a model gives for an item."""
        asked = _Asked(model, item)
        self._waiting.put(asked)
        return asked.outputs

    def close(self) -> None:
        """Finish what waits, and end."""
        self._waiting.put(None)
        self._thread.join()

    def _work(self) -> None:
        while (first := self._waiting.get()) is not None:
            batch = [first]
            while len(batch) < TOGETHER and not self._waiting.empty():
                following = self._waiting.get()
                if following is None:
                    self._waiting.put(None)
                    break
                batch.append(following)
            batch = [asked for asked in batch if asked.outputs.set_running_or_notify_cancel()]
            if batch:
                self._batched(len(batch))
                self._answer(batch)

    def _answer(self, batch: list[_Asked]) -> None:
        try:
            features = self._features([asked.item for asked in batch])
            for asked, row in zip(batch, features, strict=True):
                asked.outputs.set_result(asked.model.outputs(self._role, row[None]).numpy())
        except Exception as error:
            if len(batch) == 1:
                batch[0].outputs.set_exception(error)
                return
            for asked in batch:  # the fault of one is not that of the others
                if not asked.outputs.done():
                    self._answer([asked])

    def _features(self, items: list[Any]) -> list[Tensor]:
        """Features of items, (width,) each."""
        found = {place: self._known[item] for place, item in enumerate(items) if self._is_known(item)}
        new = [place for place in range(len(items)) if place not in found]
        if new:
            prepared = torch.stack([self._model.prepare(self._role, items[place]) for place in new])
            for place, row in zip(new, self._model.features(self._role, prepared), strict=True):
                found[place] = row
                if isinstance(items[place], str):
                    self._known[items[place]] = row
            while len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
        return [found[place] for place in range(len(items))]

    def _is_known(self, item: Any) -> bool:
        if not isinstance(item, str) or item not in self._known:
            return False
        self._known.move_to_end(item)
        return True


class Encodings:
    """The encoders of several models, each of those that are alike once."""

    def __init__(self, batched: Callable[[str, int], None] = lambda role, count: None):
        self._batched = batched
        self._made: dict[str, Encoding] = {}
        self._first: dict[str, Model] = {}

    def of(self, model: Model, role: str) -> Encoding:
        """The encoding of a model's queries of one modality."""
        frozen = model.recipe.frozen[role].value
        # Equal cards promise equal features; one that was trained along belongs to its model alone.
        alike = [model.about["encoders"][role]["card"], model.about["widths"][role]]
        key = digest([role, *(alike if frozen else [id(model)])])
        if key in self._first and self._first[key] is not model:
            model.share_encoder(role, self._first[key])
        if key not in self._made:
            self._first[key] = model
            self._made[key] = Encoding(model, role, lambda count: self._batched(role, count))
        return self._made[key]

    def close(self) -> None:
        for encoding in self._made.values():
            encoding.close()
