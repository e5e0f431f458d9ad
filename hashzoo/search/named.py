"""Indexes by name: the built-in one, and those of plugins."""

from __future__ import annotations

from collections.abc import Iterable

from hashzoo import zoo
from hashzoo.errors import HashzooError, one_line
from hashzoo.search.base import Index
from hashzoo.settings import parse_assignments, plain, resolve


def make_index(name: str, bits: int, settings: Iterable[str] = ()) -> Index:
    """An empty index, such as "exact" or, of a plugin, "faiss-ivf".

    Args:
        bits: code length.
        settings: as typed after --set, "index.nprobe=8".

    Raises:
        HashzooError: there is no such index or setting, or the index refuses it.
    """
    plugin, part = zoo.load().find("index", name)
    target = zoo.resolve_target(plugin, part.target)
    values = plain(resolve("index", target, {}, parse_assignments(settings, [], ["index"]), ["bits"]))
    try:
        return target(bits, **values)
    except ValueError as error:
        raise HashzooError(f"index '{name}' refuses its settings: {error}") from error
    except HashzooError:
        raise
    except Exception as error:
        raise HashzooError(
            f"plugin '{plugin.name}' ({plugin.origin}): index '{name}' cannot be built: {one_line(error)}", exit_code=1
        ) from error
