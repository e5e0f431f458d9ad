"""Data sets: the contract, split checks, one file a data set, and data sets from tables in memory."""

from hashzoo.data.base import Dataset, Splits
from hashzoo.data.table import from_frame, from_huggingface

__all__ = ["Dataset", "Splits", "from_frame", "from_huggingface"]
