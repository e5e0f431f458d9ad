"""The checks, one module a kind (two of methods); importing this package registers them all."""

from hashzoo.testing.checks import (
    of_datasets,
    of_encoders,
    of_indexes,
    of_learning,
    of_losses,
    of_methods,
    of_online,
    of_plugins,
)

__all__ = [
    "of_datasets",
    "of_encoders",
    "of_indexes",
    "of_learning",
    "of_losses",
    "of_methods",
    "of_online",
    "of_plugins",
]
