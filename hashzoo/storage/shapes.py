"""What a JSON file may hold: a shape for each, checked before anything is made of it.

A shape is a type (`str`, `bool`, `int`, `float`: whole numbers, too), None, ANY, LINE, a tuple of shapes of which one
must fit, or one of the classes below. Files may come from strangers: whatever fits a shape is finite, is no deeper than
DEPTH, and holds no control characters, which could give orders to a terminal.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hashzoo.errors import did_you_mean

ANY: Any = object()  # any JSON
LINE: Any = object()  # text of one line
DEPTH = 32
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_WORDS = {str: "text", bool: "true or false", int: "a whole number", float: "a number", None: "null", ANY: "anything"}


@dataclass(frozen=True)
class Fields:
    """An object with these fields; with `others` it may have further ones of any shape."""

    required: Mapping[str, Any]
    optional: Mapping[str, Any] = field(default_factory=dict)
    others: bool = False


@dataclass(frozen=True)
class Each:
    """An object whose names say themselves what they are, each with a value of one shape."""

    shape: Any


@dataclass(frozen=True)
class ListOf:
    """A list of values of one shape; of `length`, if given."""

    shape: Any
    length: int | None = None


@dataclass(frozen=True)
class Number:
    """A whole number from `low` to `high`."""

    low: int
    high: int


@dataclass(frozen=True)
class Real:
    """A number from `low` to `high`."""

    low: float
    high: float


@dataclass(frozen=True)
class Just:
    """This text and no other."""

    text: str


def printable(text: str) -> str:
    """A text of which nothing can give orders to a terminal."""
    return _CONTROL.sub("\ufffd", text)


def check(value: Any, shape: Any, where: str = "it") -> None:
    """Raise ValueError, which says what is wrong and where, unless a value has a shape."""
    _check(value, shape, where, DEPTH)


def _check(value: Any, shape: Any, where: str, depth: int) -> None:
    if not depth:
        raise ValueError(f"{where} lies too deep")
    if isinstance(shape, tuple):
        if any(_fits(value, one, depth) for one in shape):
            return
        raise ValueError(f"{where} is {_kind(value)}, not {' or '.join(map(_word, shape))}")
    if isinstance(shape, Fields | Each):
        _check_object(value, shape, where, depth)
    elif isinstance(shape, ListOf) or (shape is ANY and isinstance(value, list)):
        if not isinstance(value, list):
            raise ValueError(f"{where} is {_kind(value)}, not a list")
        if isinstance(shape, ListOf) and shape.length not in (None, len(value)):
            raise ValueError(f"{where} has {len(value)} entries, not {shape.length}")
        inner = shape.shape if isinstance(shape, ListOf) else ANY
        for number, one in enumerate(value):
            _check(one, inner, f"{where}[{number}]", depth - 1)
    elif shape is ANY and isinstance(value, dict):
        _check_object(value, Each(ANY), where, depth)
    elif not _is(value, shape):
        raise ValueError(f"{where} is {_kind(value)}, not {_word(shape)}")
    elif isinstance(value, str) and _CONTROL.search(value):
        raise ValueError(f"{where} holds control characters")


def _check_object(value: Any, shape: Fields | Each, where: str, depth: int) -> None:
    if not isinstance(value, dict):
        raise ValueError(f"{where} is {_kind(value)}, not an object")
    bad = next((name for name in value if not _is(name, LINE)), None)
    if bad is not None:
        raise ValueError(f"{where} has a field whose name holds control characters")
    at = "" if where == "it" else f"{where}."
    if isinstance(shape, Each):
        for name, one in value.items():
            _check(one, shape.shape, f"{at}{name}"[-200:], depth - 1)
        return
    missing = next((name for name in shape.required if name not in value), None)
    if missing is not None:
        raise ValueError(f"{where} has no '{missing}'")
    known = {**shape.required, **shape.optional}
    for name, one in value.items():
        if name not in known and not shape.others:
            raise ValueError(f"{where} has an unknown field '{name[:80]}'{did_you_mean(name[:80], known)}")
        _check(one, known.get(name, ANY), f"{at}{name}"[-200:], depth - 1)


def _fits(value: Any, shape: Any, depth: int) -> bool:
    try:
        _check(value, shape, "", depth)
    except ValueError:
        return False
    return True


def _is(value: Any, shape: Any) -> bool:
    if shape is ANY:
        return not isinstance(value, float) or math.isfinite(value)
    if shape is LINE:
        return isinstance(value, str) and "\n" not in value and not _CONTROL.search(value)
    if shape is None:
        return value is None
    if isinstance(shape, Number):
        return _is(value, int) and shape.low <= value <= shape.high
    if isinstance(shape, Real):
        return _is(value, float) and shape.low <= value <= shape.high
    if isinstance(shape, Just):
        return bool(value == shape.text)
    if shape is float:  # whole numbers may be longer than any float
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return number and abs(value) <= sys.float_info.max
    if shape is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, shape)


def _word(shape: Any) -> str:
    if shape is LINE:
        return "a line of text"
    if isinstance(shape, Real):
        return f"a number from {shape.low:g} to {shape.high:g}"
    if isinstance(shape, Number):
        return f"a whole number from {shape.low:,} to {shape.high:,}"
    if isinstance(shape, Just):
        return f"'{shape.text}'"
    if isinstance(shape, ListOf):
        return "a list"
    return "an object" if isinstance(shape, Fields | Each) else _WORDS[shape]


def _kind(value: Any) -> str:
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    text = repr(value) if not isinstance(value, str) else "text"
    return text if len(text) < 40 else f"{text[:36]} ..."
