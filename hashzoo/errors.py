"""The one exception that a user is meant to read."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class HashzooError(Exception):
    """A sentence for the user that says what is wrong and what to type next.

    `exit_code` is what the command line returns: 2 for a request that cannot be
    understood or granted (the default), 1 for work that was understood and failed.
    """

    def __init__(self, message: str, *, exit_code: int = 2):
        super().__init__(message)
        self.exit_code = exit_code


def one_line(error: BaseException) -> str:
    """What went wrong on one line: the sentence of a HashzooError, kind and text of any other."""
    text = " ".join(str(error).split())
    return text if isinstance(error, HashzooError) else f"{type(error).__name__}: {text}"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """'; did you mean soda?' when a known word is near, else what there is to choose from."""
    known = sorted(known)
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    if near:
        return f"; did you mean {near[0]}?"
    return f"; choose from: {', '.join(known)}" if known else ""
