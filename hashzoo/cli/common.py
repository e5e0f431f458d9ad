"""What several verbs share: lists typed with commas, and the two consoles."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hashzoo.errors import HashzooError

if TYPE_CHECKING:
    from rich.console import Console

# Tables that do not go to a terminal must not be cut at 80 columns.
WIDE = 200


def words(values: Sequence[str], option: str) -> list[str]:
    """["a,b", "c"] to ["a", "b", "c"]; an empty entry is an error."""
    parts = [part.strip() for value in values for part in value.split(",")]
    if not parts or not all(parts):
        raise HashzooError(f"{option} has an empty entry; write names with commas, such as {option} soda,dcmh")
    return parts


def whole_numbers(values: Sequence[str], option: str, example: str) -> list[int]:
    """["16,32"] to [16, 32]; anything but whole numbers is an error."""
    numbers = []
    for part in (part.strip() for value in values for part in value.split(",")):
        if not part.removeprefix("-").isdecimal() or not part.isascii():
            raise HashzooError(f"{option} takes whole numbers, not '{part}'; write {option} {example}")
        numbers.append(int(part))
    return numbers


def batch_size(text: str) -> int | None:
    """`--batch-size`: None for "auto"."""
    if text == "auto":
        return None
    if not text.isdecimal() or not text.isascii():
        raise HashzooError(f"--batch-size takes auto or a whole number, not '{text}'; leave it out for auto")
    return int(text)


def on_this_machine(path: Path | None) -> Path | None:
    """A path that something is written to; an address, which makes a folder "s3:" of itself, is an error."""
    if path is not None and re.match(r"\w[\w+.-]+:[/\\]", str(path)):
        address = re.sub(r"[/\\]", "//", str(path), count=1)
        raise HashzooError(f"{address} is an address; give a path of this machine, and copy what comes of it yourself")
    return path


def console(stderr: bool = False) -> Console:
    """A rich console; wide, and tall, where the output is not a terminal (rich needs both)."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    if stream.isatty():
        return Console(stderr=stderr)
    columns = os.environ.get("COLUMNS", "")
    return Console(stderr=stderr, width=int(columns) if columns.isdecimal() else WIDE, height=50)


def print_json(value: Any) -> None:
    """One JSON object on stdout."""
    print(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))
