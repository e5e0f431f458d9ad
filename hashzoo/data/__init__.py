"""Data sets: the contract, split checks, and one file a data set."""

from hashzoo.data.base import Dataset, Splits

__all__ = ["Dataset", "Splits"]
