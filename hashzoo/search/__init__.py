"""Search in packed codes: exact top-k and radius search, the contract of an index, and the exact one."""

from hashzoo.search.base import Hits, Index
from hashzoo.search.exact import ExactIndex
from hashzoo.search.topk import nearest, within

__all__ = ["ExactIndex", "Hits", "Index", "nearest", "within"]
