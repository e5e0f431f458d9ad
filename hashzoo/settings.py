"""From `--set trainer.lr=1e-3` to constructor keywords: types, origins, suggestions.

A setting belongs to a section of the recipe: `image` and `text` (encoders), `image_head` and
`text_head`, `loss`, `trainer`, and the roles of further encoders that a method names, such as
`teacher_image`. What a section accepts are the keywords of the constructor behind it; there is
no second list of options. `soda.trainer.lr=1e-3` sets it for one method alone, and
settings of the data set, `dataset.size=64`, and of what is seen of it in training,
`train_data.label_noise=0.2`, hold for all methods.
"""

from __future__ import annotations

import inspect
import re
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from hashzoo.errors import HashzooError, did_you_mean

SECTIONS = ("image", "text", "image_head", "text_head", "loss", "trainer")
SHARED = ("dataset", "train_data")  # by all methods, so that they are compared on the same data
FURTHER = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*_(image|text)")  # roles of further encoders


@dataclass(frozen=True)
class Assignment:
    """One `--set`: `method` is None when it is meant for every method that has the setting."""

    method: str | None
    section: str
    key: str
    text: str

    @property
    def path(self) -> str:
        return ".".join(filter(None, (self.method, self.section, self.key)))


@dataclass(frozen=True)
class Value:
    """A resolved setting and where it came from: "default", "method" or "user"."""

    value: Any
    origin: str


def parse_assignments(
    texts: Iterable[str], methods: Iterable[str], sections: Iterable[str] | None = None
) -> list[Assignment]:
    """Split each "[method.]section.key=value"; a later assignment to the same path wins.

    Args:
        texts: as typed.
        methods: those asked for.
        sections: those that can be set for all methods; None: every one, further encoders too.
    """
    methods = list(methods)
    parsed: dict[str, Assignment] = {}
    for text in texts:
        path, equals, value = text.partition("=")
        names = path.strip().split(".")
        if not equals or len(names) not in (2, 3) or not all(names):
            raise HashzooError(f"'{text}' is not a setting; write it as trainer.lr=0.001 or soda.trainer.lr=0.001")
        method = names[0] if len(names) == 3 else None
        section, key = names[-2:]
        if method is not None and method not in methods:
            raise HashzooError(f"'{text}' is for a method that was not asked for{did_you_mean(method, methods)}")
        allowed = SECTIONS if method else (*SECTIONS, *SHARED) if sections is None else tuple(sections)
        further = FURTHER.fullmatch(section) and (method or sections is None)
        if section not in allowed and not further:
            raise HashzooError(f"'{section}' in '{text}' is no section{did_you_mean(section, allowed)}")
        assignment = Assignment(method, section, key, value.strip())
        parsed.pop(assignment.path, None)
        parsed[assignment.path] = assignment
    return list(parsed.values())


def keywords(target: Any, given: Iterable[str] = ()) -> dict[str, inspect.Parameter]:
    """The settings of a constructor: its keywords with a default, less those that the core passes."""
    given = set(given)
    return {
        name: parameter
        for name, parameter in inspect.signature(target).parameters.items()
        if parameter.default is not parameter.empty and name not in given
    }


def resolve(
    section: str,
    target: Any,
    recipe: Mapping[str, object],
    assignments: Iterable[Assignment],
    given: Iterable[str] = (),
) -> dict[str, Value]:
    """Every setting of one section: constructor defaults, then the recipe's, then the user's.

    Args:
        section: such as "trainer".
        target: the class behind the section.
        recipe: the method's `settings`, all sections; wrong names are the plugin author's error.
        assignments: those that apply to this method; of this section those are used.
        given: keywords that the core passes itself.
    """
    known = keywords(target, given)
    values = {name: Value(parameter.default, "default") for name, parameter in known.items()}
    hints = _hints(target)
    for path, value in recipe.items():
        recipe_section, _, name = path.partition(".")
        if recipe_section != section:
            continue
        if name not in known:
            raise HashzooError(
                f"the method sets {path}, which {target.__name__} does not have{did_you_mean(name, known)}", exit_code=1
            )
        values[name] = Value(value, "method")
    for assignment in assignments:
        if assignment.section != section:
            continue
        if assignment.key not in known:
            raise HashzooError(
                f"{target.__name__} has no setting '{assignment.section}.{assignment.key}'"
                f"{did_you_mean(f'{section}.{assignment.key}', [f'{section}.{name}' for name in known])}"
            )
        kind = hints.get(assignment.key, type(known[assignment.key].default))
        values[assignment.key] = Value(convert(assignment.text, kind, assignment.path), "user")
    return values


def convert(text: str, kind: Any, path: str) -> Any:
    """Read `text` as `kind`: bool, int, float, str, a tuple of one of these, or `X | None`."""
    if typing.get_origin(kind) in (types.UnionType, typing.Union):
        options = [option for option in typing.get_args(kind) if option is not type(None)]
        if text.lower() == "none" and len(options) < len(typing.get_args(kind)):
            return None
        kind = options[0]
    if typing.get_origin(kind) is tuple:
        return tuple(convert(part, typing.get_args(kind)[0], path) for part in text.split(",") if part)
    if kind is bool:
        if text.lower() not in ("true", "false"):
            raise HashzooError(f"{path} is true or false, not '{text}'; write {path}=true")
        return text.lower() == "true"
    if kind in (int, float):
        try:
            number = kind(text)
        except ValueError:
            what = "a whole number" if kind is int else "a number"
            raise HashzooError(f"{path} must be {what}, not '{text}'") from None
        if number != number or number in (float("inf"), float("-inf")):
            raise HashzooError(f"{path} must be a finite number, not '{text}'")
        return number
    return text


def text_of(value: Any) -> str:
    """A value of Python or TOML in the words of `--set`: true, none, 0.01, 512,256."""
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    if isinstance(value, list | tuple):
        return ",".join(map(text_of, value))
    if not isinstance(value, str | int | float):
        raise HashzooError(f"a setting is a number, a word, true, false or a list of them, not {value!r}")
    return str(value)


def plain(values: Mapping[str, Value]) -> dict[str, Any]:
    """Constructor keywords without their origins."""
    return {name: value.value for name, value in values.items()}


def _hints(target: Any) -> dict[str, Any]:
    function = target.__init__ if inspect.isclass(target) else target
    try:
        return typing.get_type_hints(function)
    except (NameError, TypeError):
        return {}
