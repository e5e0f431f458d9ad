"""Protocols: which of the many numbers called mAP is meant.

A protocol answers four questions. In which order do items at one distance stand (`ties`)? What does a cut at k keep
(`k_rule`)? What is the sum of precisions divided by (`denominator`)? What becomes of a query with nothing relevant
(`no_relevant`)? docs/evaluation.md says who uses which.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np

from hashzoo.errors import HashzooError, did_you_mean

TIES = ("expected", "stable", "optimistic", "pessimistic")
K_RULES = ("top_k_positions", "first_k_relevant")
DENOMINATORS = ("min(R,k)", "retrieved", "R")
NO_RELEVANT = ("zero", "skip", "error")


@dataclass(frozen=True)
class Protocol:
    """How to rank, cut and average.

    Attributes:
        ties: "expected": the exact mean over all orders of the items at each distance (McSherry and Najork, ECIR 2008);
            "stable": by database row; "optimistic": most shared labels first; "pessimistic": fewest first.
        k_rule: "top_k_positions" cuts the list after k positions; "first_k_relevant" keeps the first
            min(k, R) relevant items wherever they stand. The two agree without a cut.
        denominator: with R relevant items in the database: "min(R,k)", "retrieved" (relevant items among the
            first k positions) or "R". All are R without a cut; `first_k_relevant` always divides by min(R, k).
        no_relevant: a query whose denominator is 0 counts as 0 ("zero") or is left out of the mean ("skip"); "error"
            refuses queries with nothing relevant in the database. In metrics other than mAP, "skip" leaves out
            the queries with nothing relevant in the database.
    """

    ties: str = "expected"
    k_rule: str = "top_k_positions"
    denominator: str = "min(R,k)"
    no_relevant: str = "zero"

    def __post_init__(self) -> None:
        for field, known in (
            ("ties", TIES),
            ("k_rule", K_RULES),
            ("denominator", DENOMINATORS),
            ("no_relevant", NO_RELEVANT),
        ):
            value = getattr(self, field)
            if value not in known:
                raise HashzooError(f"a protocol has no {field} '{value}'{did_you_mean(str(value), known)}")
        if self.k_rule == "first_k_relevant" and self.denominator != "min(R,k)":
            raise HashzooError("first_k_relevant always divides by min(R,k); leave the denominator out")

    def describe(self) -> dict[str, str]:
        """The four answers, JSON-able."""
        return dataclasses.asdict(self)


PRESETS: dict[str, Protocol] = {
    **{ties: Protocol(ties) for ties in TIES},
    # DCMH (Python and its PyTorch ports, torchcmh, MITH, CPAH, AGAH, DADH): a cut keeps relevant items, not positions.
    "dcmh": Protocol("stable", k_rule="first_k_relevant"),
    # DeepHash-pytorch's CalcTopMap, DCMH's MATLAB topkMap, OrthoHash, FIRe.
    "deephash": Protocol("stable", denominator="retrieved"),
    # HashNet, thulab/DeepHash, UCCH: as deephash, but queries with no hit in the first k vanish from the mean.
    "hashnet": Protocol("stable", denominator="retrieved", no_relevant="skip"),
    # AP@k of the retrieval textbooks, normalised so that a perfect list scores 1.
    "textbook": Protocol("expected"),
}
NEEDS_K = ("deephash", "hashnet", "textbook")


def resolve(protocol: str | Protocol, k: Any) -> tuple[Protocol, int | None]:
    """The protocol and cut that "deephash@50", ("deephash", 50) or (Protocol(...), 50) mean."""
    if k is not None:
        k = check_k(k)
    if isinstance(protocol, Protocol):
        return protocol, k
    if not isinstance(protocol, str):
        raise HashzooError(
            f"a protocol is a name or a Protocol, not {type(protocol).__name__}; try protocol='expected'"
        )
    name, _, cut = protocol.partition("@")
    if name not in PRESETS:
        raise HashzooError(f"there is no protocol '{name}'{did_you_mean(name, PRESETS)}")
    if "@" in protocol:
        named = check_k(cut)
        if k is not None and k != named:
            raise HashzooError(f"protocol '{protocol}' and k={k} name two different cuts; keep one of them")
        k = named
    if k is None and name in NEEDS_K:
        raise HashzooError(f"protocol '{name}' is defined with a cut only; name it, as in '{name}@5000'")
    return PRESETS[name], k


def check_k(k: Any) -> int:
    """A cut as a positive int, from an int or from digits."""
    if isinstance(k, str) and k.isascii() and k.isdigit():
        k = int(k)
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
        raise HashzooError(f"a cut must be a whole number from 1, not {k!r}; leave it out to rank the whole database")
    return int(k)
