"""What a drawn scene can hold, and how one is made up: the vocabulary, the dice and the sampler."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

Item = TypeVar("Item")

# A thing and its usual colours; the usual ones are drawn more often, as in photographs.
KINDS = {
    "balloon": ("red", "yellow"),
    "boat": ("white", "red"),
    "butterfly": ("orange", "blue"),
    "car": ("red", "blue"),
    "fish": ("orange", "yellow"),
    "flower": ("pink", "purple"),
    "house": ("white", "yellow"),
    "kite": ("purple", "green"),
    "mushroom": ("red", "pink"),
    "rocket": ("white", "blue"),
    "tree": ("green", "green"),
    "umbrella": ("purple", "pink"),
}
COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "white")
PLACES = ("sea", "meadow", "city", "desert", "snow", "mountains")
PATTERNS = ("striped", "spotted", "checked")
CLASSES = (*KINDS, *PLACES, "night", *PATTERNS)


class Dice:
    """Integers from PCG64, the same for the same entropy on every machine and numpy.

    Only `random_raw` is used: numpy promises that its stream never changes for a seed, and
    promises no such thing of `Generator.integers` or `Generator.permutation`.
    """

    def __init__(self, *entropy: int):
        self._bits = np.random.PCG64(entropy)

    def below(self, bound: int) -> int:
        """A whole number in 0..bound-1 (the modulo bias is under bound / 2^64)."""
        return int(self._bits.random_raw()) % bound

    def between(self, low: int, high: int) -> int:
        """A whole number in low..high, both included."""
        return low + self.below(high - low + 1)

    def percent(self, chance: int) -> bool:
        """True in `chance` of 100 throws."""
        return self.below(100) < chance

    def pick(self, items: Sequence[Item]) -> Item:
        return items[self.below(len(items))]

    def raw(self, count: int) -> np.ndarray:
        """`count` words of 64 random bits."""
        return np.asarray(self._bits.random_raw(count), dtype=np.uint64)


@dataclass(frozen=True)
class Thing:
    kind: str
    colour: str
    pattern: str  # "" for plain


@dataclass(frozen=True)
class Scene:
    """What picture and caption of a row both show. Sun, clouds, birds and colours are no labels."""

    things: tuple[Thing, ...]
    place: str  # "" for plain paper
    night: bool
    sky: tuple[str, ...]  # some of "sun", "clouds", "birds"

    def labels(self) -> set[str]:
        words = {thing.kind for thing in self.things} | {thing.pattern for thing in self.things} | {self.place}
        if self.night:
            words.add("night")
        return words - {""}


def sample_scene(dice: Dice) -> Scene:
    """One to three things of different kinds somewhere: 3.3 labels on average."""
    kinds: list[str] = []
    count = dice.pick((1, 1, 1, 2, 2, 2, 3))
    while len(kinds) < count:
        kind = dice.pick(tuple(KINDS))
        if kind not in kinds:
            kinds.append(kind)
    things = []
    for kind in kinds:
        colour = dice.pick(KINDS[kind] if dice.percent(60) else COLOURS)
        things.append(Thing(kind, colour, dice.pick(PATTERNS) if dice.percent(24) else ""))
    place = dice.pick((*PLACES, ""))
    if not place:
        return Scene(tuple(things), place, night=False, sky=())
    night = dice.percent(18)
    sky = tuple(
        item for item, chance in (("sun", 0 if night else 35), ("clouds", 40), ("birds", 25)) if dice.percent(chance)
    )
    return Scene(tuple(things), place, night, sky)
