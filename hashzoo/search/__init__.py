"""Search in packed codes: the contract of an index, and the exact one."""

from hashzoo.search.base import Hits, Index
from hashzoo.search.exact import ExactIndex

__all__ = ["ExactIndex", "Hits", "Index"]
