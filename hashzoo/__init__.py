"""hashzoo: cross-modal hashing methods, trained and compared side by side."""

__version__ = "0.1.0"
