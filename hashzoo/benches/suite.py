"""Suites: all installed methods of a kind, so that a bench need not name each."""

from __future__ import annotations

from hashzoo import zoo
from hashzoo.errors import HashzooError, did_you_mean

SUITES = {"paper": "every installed method that names a paper", "all": "every installed method"}


def methods_of(suite: str) -> list[str]:
    """Names of the methods of a suite, sorted.

    Raises:
        HashzooError: there is no such suite, no method is in it, or two packages offer a method of one name.
    """
    if suite not in SUITES:
        told = ", ".join(f"{name} ({what})" for name, what in SUITES.items())
        raise HashzooError(f"no suite is called '{suite}'{did_you_mean(suite, SUITES)}; there are {told}")
    known = zoo.load()
    methods = (known.find("method", name)[1] for name in known.names("method"))
    found = [method.name for method in methods if suite == "all" or method.paper]
    if not found:
        raise HashzooError(f"no installed method is in the suite '{suite}'; pip install hashzoo-soda, for example")
    return found
