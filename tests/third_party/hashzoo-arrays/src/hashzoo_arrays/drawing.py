"""Displays of seven-segment digits as an array of pictures, and their captions as an array of strings."""

from __future__ import annotations

import numpy as np

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
INKS = {"red": (225, 50, 40), "green": (50, 200, 70), "blue": (70, 110, 235), "amber": (240, 170, 30)}
OPENINGS = ("the display shows", "we read", "in {ink} light:", "a panel with")
PLACES = 3  # digits that fit on a display
HEIGHT, WIDTH = 28, 16  # pixels of one place

# The segments that light up for each digit, and where they are: (top, bottom, left, right) in pixels of a place.
LIT = ("abcdef", "bc", "abdeg", "abcdg", "bcfg", "acdfg", "acdefg", "abc", "abcdefg", "abcdfg")
SEGMENTS = {
    "a": (3, 6, 4, 12),
    "b": (5, 14, 11, 14),
    "c": (14, 23, 11, 14),
    "d": (22, 25, 4, 12),
    "e": (14, 23, 2, 5),
    "f": (5, 14, 2, 5),
    "g": (12, 15, 4, 12),
}


def glyphs() -> np.ndarray:
    """The ten digits as masks, (10, HEIGHT, WIDTH) bool."""
    masks = np.zeros((len(WORDS), HEIGHT, WIDTH), dtype=bool)
    for mask, segments in zip(masks, LIT, strict=True):
        for top, bottom, left, right in (SEGMENTS[segment] for segment in segments):
            mask[top:bottom, left:right] = True
    return masks


def make(rows: int, noisy: bool, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw displays of one to three digits.

    Args:
        rows: how many.
        noisy: grain on the picture, a lit or dead block of pixels, and captions that leave out a digit now and then.
        seed: of everything.

    Returns:
        pictures (rows, HEIGHT, PLACES * WIDTH, 3) uint8, captions (rows,) str and labels (rows, 10) bool: the digits of
        the display, each once however often it is there.
    """
    random = np.random.default_rng(seed)
    masks, inks = glyphs(), tuple(INKS)
    pictures = np.empty((rows, HEIGHT, PLACES * WIDTH, 3), dtype=np.uint8)
    labels = np.zeros((rows, len(WORDS)), dtype=bool)
    captions = []
    for row in range(rows):
        digits = random.integers(0, 10, size=random.integers(1, PLACES + 1))
        digits[0] = row % 10  # so that ten neighbouring rows have every label
        ink = inks[random.integers(len(inks))]
        labels[row, digits] = True
        pictures[row] = _display(masks[digits], INKS[ink], noisy, random)
        captions.append(_caption(digits, ink, noisy, random))
    return pictures, np.array(captions), labels


def _display(masks: np.ndarray, ink: tuple[int, int, int], noisy: bool, random: np.random.Generator) -> np.ndarray:
    """Masks (digits, HEIGHT, WIDTH) side by side on a dark ground: (HEIGHT, PLACES * WIDTH, 3) uint8."""
    lit = np.zeros((HEIGHT, PLACES * WIDTH), dtype=bool)
    start = random.integers(0, (PLACES - len(masks)) * WIDTH + 1)
    lit[:, start : start + len(masks) * WIDTH] = np.concatenate(masks, axis=1)
    lit = np.roll(lit, random.integers(-2, 3), axis=0)
    if noisy:
        top, left = random.integers(0, HEIGHT - 5), random.integers(0, PLACES * WIDTH - 5)
        lit[top : top + 5, left : left + 5] = random.random() < 0.5
    picture = np.where(lit[..., None], np.array(ink), random.integers(10, 60, size=3))
    return (picture + random.normal(0, 25 if noisy else 3, picture.shape)).clip(0, 255).astype(np.uint8)


def _caption(digits: np.ndarray, ink: str, noisy: bool, random: np.random.Generator) -> str:
    """One sentence that names the digits in reading order; a noisy one may lack one of them."""
    words = [WORDS[digit] for digit in digits]
    if noisy and len(words) > 1 and random.random() < 0.3:
        words.pop(random.integers(len(words)))
    opening = OPENINGS[random.integers(len(OPENINGS))]
    colour = "" if "{ink}" in opening else f", in {ink}"
    return f"{opening.format(ink=ink)} {', '.join(words)}{colour}."
