"""Search in packed codes: collections on disk, exact top-k and radius search, and the contract of an index."""

from hashzoo.search.answer import Answer
from hashzoo.search.base import Hits, Index
from hashzoo.search.collection import Collection
from hashzoo.search.collection import Collection as open
from hashzoo.search.exact import ExactIndex
from hashzoo.search.named import make_index
from hashzoo.search.topk import nearest, within

__all__ = ["Answer", "Collection", "ExactIndex", "Hits", "Index", "make_index", "nearest", "open", "within"]
