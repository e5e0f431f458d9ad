"""The checks, one module a kind; importing this package registers them all."""

from hashzoo.testing.checks import of_learning, of_losses, of_methods, of_plugins

__all__ = ["of_learning", "of_losses", "of_methods", "of_plugins"]
