"""The plugin API, version 1: what a plugin says about itself, and the hooks it may implement.

A plugin is an installed package with an entry point in the group `hashzoo`. Its module says
`HASHZOO_API = 1` and implements any of the hooks below. Hooks return plain values and import
nothing heavy; a target such as "my_package.loss:MyLoss" is imported when it is used.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import pluggy

API = 1
GROUP = "hashzoo"
hookspec = pluggy.HookspecMarker(GROUP)
hookimpl = pluggy.HookimplMarker(GROUP)


@dataclass(frozen=True)
class Part:
    """One named piece: `target` is "package.module:Class", whose constructor keywords are its settings."""

    name: str
    target: str
    summary: str


@dataclass(frozen=True)
class Method:
    """A recipe: the encoders of the paper, the heads, the loss and the trainer, by name.

    Heads are empty where the trainer makes modules of its own, which then take features of frozen encoders.

    `settings` are defaults such as {"trainer.lr": 1e-3, "image_head.hidden": 512}. `status` is
    "exact" (the constants are the paper's or its code's), "reconstruction" (some are ours) or "ours" (the method
    is in no paper).

    `extra` names further encoders by role, {"teacher_image": "clip:ViT-B-32/openai"}: a word, and "_image" or "_text"
    for what they encode. Their features of the rows that a job holds are `job.train.extra("teacher_image", index)`.
    """

    name: str
    image: str
    text: str
    loss: str = ""  # empty: the trainer brings its own objective
    trainer: str = "sgd"
    image_head: str = "hashzoo.model:HashHead"
    text_head: str = "hashzoo.model:HashHead"
    image_outputs: tuple[str, ...] = ()  # named encoder outputs that the head can use beside "pooled"
    text_outputs: tuple[str, ...] = ()
    settings: Mapping[str, object] = field(default_factory=dict)
    summary: str = ""
    paper: str = ""
    status: str = "exact"
    extra: Mapping[str, str] = field(default_factory=dict)


class Hooks:
    """Every hook that a plugin may implement."""

    @hookspec
    def hashzoo_datasets(self) -> Iterable[Part]:
        """Register data sets: paired images, texts and labels with fixed splits."""
        raise NotImplementedError

    @hookspec
    def hashzoo_encoders(self) -> Iterable[Part]:
        """Register encoders, which turn a raw image or text into a feature vector."""
        raise NotImplementedError

    @hookspec
    def hashzoo_losses(self) -> Iterable[Part]:
        """Register losses, which turn a batch of outputs into named scalar terms."""
        raise NotImplementedError

    @hookspec
    def hashzoo_trainers(self) -> Iterable[Part]:
        """Register trainers, which fit the two towers of a job."""
        raise NotImplementedError

    @hookspec
    def hashzoo_indexes(self) -> Iterable[Part]:
        """Register indexes, which search packed codes."""
        raise NotImplementedError

    @hookspec
    def hashzoo_methods(self) -> Iterable[Method]:
        """Register methods, which are recipes of the names above."""
        raise NotImplementedError
