"""Search in packed codes: collections on disk; the contract of an index, and the exact one."""

from hashzoo.search.answer import Answer
from hashzoo.search.base import Hits, Index
from hashzoo.search.collection import Collection
from hashzoo.search.collection import Collection as open
from hashzoo.search.exact import ExactIndex

__all__ = ["Answer", "Collection", "ExactIndex", "Hits", "Index", "open"]
