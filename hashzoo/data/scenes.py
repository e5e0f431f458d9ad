"""`scenes`: pictures and captions that hashzoo draws by itself, for tests and first steps without any network."""

from __future__ import annotations

import operator

import numpy as np
from PIL import Image

from hashzoo.data._scene_captions import caption
from hashzoo.data._scene_pictures import draw
from hashzoo.data._scene_world import CLASSES, Dice, Scene, sample_scene
from hashzoo.data.base import Dataset, Splits
from hashzoo.errors import HashzooError
from hashzoo.storage.files import digest

VERSION = 1  # to be raised with any change of the pixels, texts, labels or splits of some setting
_SCENE, _TEXT, _PIXELS, _SPLIT = range(4)  # independent streams of random bits


class Scenes(Dataset):
    """One to three things somewhere, drawn and described: 22 labels, about 3.3 a row.

    The labels are 12 things, 6 places, night, and 3 patterns. Colours, sun, clouds and birds are
    seen and spoken of too, and are no labels. No two rows show the same things in the same colours
    and patterns at the same place and hour. Of all pairs of rows about two fifths share a label.

    What a row shows depends on `seed` and the row alone; `pairs` appends rows, and `difficulty`
    changes only how rows are drawn and described. So labels are equal at every difficulty.

    Args:
        pairs: rows in all, 100 to 100,000; a fifth of them are queries. As simple scenes run out, later rows
            hold more: 4.1 labels a row at 100,000.
        pixels: side of a picture, 16 to 512.
        difficulty: 0 to 1, in steps of 0.01. As it grows, things get smaller, hide one another and
            stand behind clouds, and grain is added; captions take rarer words, leave labels out and
            speak of other matters.
        seed: 0 to 2^32 - 1.
        val: share of the rows that are no queries held out of training, 0 to 0.5; they stay in the database.
    """

    name = "scenes"
    classes = CLASSES
    licence = "Drawn by hashzoo, Apache-2.0 like its code; no rights in the pictures and captions are claimed."

    def __init__(
        self, *, pairs: int = 1200, pixels: int = 64, difficulty: float = 0.5, seed: int = 0, val: float = 0.0
    ):
        self.pairs = _whole("pairs", pairs, 100, 100_000)
        self.pixels = _whole("pixels", pixels, 16, 512)
        self.seed = _whole("seed", seed, 0, 2**32 - 1)
        self.difficulty = _share("difficulty", difficulty)
        self._percent = round(100 * self.difficulty)
        self._scenes = _different_scenes(self.pairs, self.seed)
        self._texts = [
            caption(scene, Dice(VERSION, self.seed, row, _TEXT), self._percent)
            for row, scene in enumerate(self._scenes)
        ]
        held = [scene.labels() for scene in self._scenes]
        self.labels = np.array([[name in names for name in CLASSES] for names in held], dtype=bool)
        self.splits = split_rows(self.labels, self.seed, _share("val", val, 0.5))
        self._fingerprint = ""

    def image(self, row: int) -> Image.Image:
        """The picture of a row, drawn when asked for: RGB, `pixels` x `pixels`."""
        dice = Dice(VERSION, self.seed, row, _PIXELS)
        return Image.fromarray(draw(self._scenes[row], dice, self._percent, self.pixels))

    def text(self, row: int) -> str:
        return self._texts[row]

    def fingerprint(self) -> str:
        """A digest of the version and of the content itself: all pixels, texts, labels and class names.

        The settings would tell as much, were the drawing never changed by mistake. It takes about
        as long as drawing all pictures once, and is remembered.
        """
        if not self._fingerprint:
            self._fingerprint = digest(["scenes", VERSION, super().fingerprint()])
        return self._fingerprint


def split_rows(labels: np.ndarray, seed: int, val: float = 0.0) -> Splits:
    """A random fifth of the rows as queries, drawn again until every class occurs on both sides."""
    queries = len(labels) // 5
    for draws in range(1000):
        order = np.argsort(Dice(VERSION, seed, draws, _SPLIT).raw(len(labels)), kind="stable").astype(np.int64)
        query, rest = np.sort(order[:queries]), np.sort(order[queries:])
        if labels[query].any(axis=0).all() and labels[rest].any(axis=0).all():
            held = int(len(rest) * val)
            rule = (
                f"a random fifth of the rows is the query split, all others are train and database "
                f"(seed {seed}, draw {draws}: the first in which every class occurs on both sides)"
            ) + (f"; {held} of them are val instead of train" if held else "")
            train, val_rows = np.sort(order[queries + held :]), np.sort(order[queries : queries + held])
            return Splits(train=train, query=query, database=rest, rule=rule, val=val_rows)
    raise HashzooError(f"some class of 'scenes' is too rare for a query split with seed {seed}; ask for more pairs")


def _different_scenes(pairs: int, seed: int) -> list[Scene]:
    """One scene a row; a scene whose things and place an earlier row shows already is drawn anew."""
    scenes: list[Scene] = []
    seen = set()
    for row in range(pairs):
        attempt = 0
        while True:
            scene = sample_scene(Dice(VERSION, seed, row, _SCENE, attempt))
            key = (frozenset(scene.things), scene.place, scene.night)
            if key not in seen:
                break
            attempt += 1
        seen.add(key)
        scenes.append(scene)
    return scenes


def _whole(setting: str, value: int, low: int, high: int) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        number = low - 1
    if isinstance(value, bool) or not low <= number <= high:
        raise HashzooError(f"dataset.{setting} must be a whole number from {low} to {high}, not {value!r}")
    return number


def _share(setting: str, value: float, high: float = 1) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= high:
        raise HashzooError(f"dataset.{setting} must be a number from 0 to {high}, not {value!r}")
    return float(value)
