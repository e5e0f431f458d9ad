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
from functools import cached_property
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

    @cached_property
    def known(self) -> Mapping[str, Any]:
        """All fields with a shape of their own."""
        return {**self.required, **self.optional}


@dataclass(frozen=True)
class Each:
    """An object whose names say themselves what they are, each with a value of one shape."""

    shape: Any


@dataclass(frozen=True)
class ListOf:
    """A list of values of one shape; of `length`, if given."""

    shape: Any
    length: int | None = None


_ANY_LIST, _ANY_OBJECT = ListOf(ANY), Each(ANY)
_COMPOSED = {Fields, Each, ListOf}


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
    try:
        _check(value, shape, DEPTH)
    except _Misfit as misfit:
        way = "".join(reversed(misfit.way))
        place = way[1:] if where == "it" and way.startswith(".") else where + way
        raise ValueError(f"{place[-200:]} {misfit}") from None


class _Misfit(Exception):
    """What is wrong. The way to it is added from the inside out, so that what fits costs no words."""

    def __init__(self, wrong: str):
        super().__init__(wrong)
        self.way: list[str] = []


def _check(value: Any, shape: Any, depth: int) -> None:
    if not depth:
        raise _Misfit("lies too deep")
    if shape is ANY:
        shape = _ANY_LIST if isinstance(value, list) else _ANY_OBJECT if isinstance(value, dict) else ANY
    kind = type(shape)
    if kind is tuple:
        if not any(_fits(value, one, depth) for one in shape):
            raise _Misfit(f"is {_kind(value)}, not {' or '.join(map(_word, shape))}")
    elif kind is Fields or kind is Each:
        _check_object(value, shape, depth)
    elif kind is ListOf:
        if not isinstance(value, list):
            raise _Misfit(f"is {_kind(value)}, not a list")
        if shape.length not in (None, len(value)):
            raise _Misfit(f"has {len(value)} entries, not {shape.length}")
        number = 0
        try:
            for number in range(len(value)):
                _check(value[number], shape.shape, depth - 1)
        except _Misfit as misfit:
            misfit.way.append(f"[{number}]")
            raise
    elif not _is(value, shape):
        raise _Misfit(f"is {_kind(value)}, not {_word(shape)}")
    elif isinstance(value, str) and not _plain(value):
        raise _Misfit("holds control characters")


def _check_object(value: Any, shape: Fields | Each, depth: int) -> None:
    if not isinstance(value, dict):
        raise _Misfit(f"is {_kind(value)}, not an object")
    if not "".join(value).isprintable() and not all(_is(name, LINE) for name in value):
        raise _Misfit("has a field whose name holds control characters")
    known: Mapping[str, Any] = {}
    others = None
    if isinstance(shape, Each):
        others = shape.shape
    else:
        known = shape.known
        missing = next((name for name in shape.required if name not in value), None)
        if missing is not None:
            raise _Misfit(f"has no '{missing}'")
        unknown = None if shape.others else next((name for name in value if name not in known), None)
        if unknown is not None:
            raise _Misfit(f"has an unknown field '{unknown[:80]}'{did_you_mean(unknown[:80], known)}")
        others = ANY
    name = ""
    try:
        for name, one in value.items():
            _check(one, known.get(name, others), depth - 1)
    except _Misfit as misfit:
        misfit.way.append(f".{name}")
        raise


def _fits(value: Any, shape: Any, depth: int) -> bool:
    if type(shape) not in _COMPOSED:
        return _is(value, shape) and (not isinstance(value, str) or _plain(value))
    try:
        _check(value, shape, depth)
    except _Misfit:
        return False
    return True


def _plain(text: str) -> bool:
    """Whether nothing in a text gives orders to a terminal: what can be printed does not, which is soon told."""
    return text.isprintable() or not _CONTROL.search(text)


def _is(value: Any, shape: Any) -> bool:
    if shape is ANY:
        return not isinstance(value, float) or math.isfinite(value)
    if shape is LINE:
        return isinstance(value, str) and "\n" not in value and _plain(value)
    if shape is float:  # whole numbers may be longer than any float
        return type(value) in (float, int) and abs(value) <= sys.float_info.max
    if shape is int:
        return type(value) is int
    if shape is None:
        return value is None
    kind = type(shape)
    if kind is Number:
        return type(value) is int and bool(shape.low <= value <= shape.high)
    if kind is Real:
        return _is(value, float) and shape.low <= value <= shape.high
    if kind is Just:
        return bool(value == shape.text)
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
