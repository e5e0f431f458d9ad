"""Swept settings: from `--sweep trainer.alpha=0.01,0.1` to the cells of a bench. Imports no torch."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from hashzoo.benches.plan import sources
from hashzoo.errors import HashzooError, did_you_mean
from hashzoo.recipe import Cell, build, pair_of
from hashzoo.settings import SHARED, Assignment, parse_assignments
from hashzoo.source import environment
from hashzoo.storage.files import cache_dir, digest, read_json, write_json
from hashzoo.zoo import Zoo

Axis = list[Assignment]  # one setting, once with each of its values
_VALUE = re.compile(r'\s*(?:"(?P<quoted>(?:[^"]|"")*)"|(?P<plain>[^",]*))\s*(?P<end>,|$)')


def parse_sweep(texts: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """["trainer.alpha=0.01,0.1"] to {"trainer.alpha": ("0.01", "0.1")}.

    Values are separated by commas, as in CSV: one that holds a comma or a quote, or is empty, stands in double
    quotes, and a quote inside of them is written twice.
    """
    found: dict[str, tuple[str, ...]] = {}
    for text in texts:
        path, equals, listed = (part.strip() for part in text.partition("="))
        if not equals or not path:
            raise HashzooError(f"'{text}' sweeps nothing; write it as trainer.lr=0.001,0.01")
        if path in found:
            raise HashzooError(f"{path} is swept twice; give all of its values at once")
        values, start, more = [], 0, True
        while more:
            match = _VALUE.match(listed, start)
            if match is None:
                raise HashzooError(f'the quotes in \'{text}\' are not closed; write {path}="a, b","c"')
            quoted, plain = match["quoted"], (match["plain"] or "").strip()
            if quoted is None and not plain:
                raise HashzooError(f"'{text}' has an empty value; write \"\" for an empty text, or leave it out")
            values.append(plain if quoted is None else quoted.replace('""', '"'))
            start, more = match.end(), match["end"] == ","
        found[path] = tuple(values)
    return found


def axes_of(sweep: Mapping[str, Sequence[str]], settings: Iterable[str], methods: Sequence[str]) -> list[Axis]:
    """Every swept setting with its values, those of the data set first; refused are what is set too and repetitions."""
    fixed = {assignment.path for assignment in parse_assignments(settings, methods)}
    axes = []
    for path, values in sweep.items():
        if path in fixed:
            raise HashzooError(f"{path} is set and swept; leave one of the two out")
        if not values:
            raise HashzooError(f"{path} is swept over no value; give one at least")
        repeated = next((value for value in values if list(values).count(value) > 1), None)
        if repeated is not None:
            raise HashzooError(f"{path} is swept over {repeated or 'the empty text'} twice; name each value once")
        axes.append([parse_assignments([f"{path}={value}"], methods)[0] for value in values])
    order = (*SHARED, None)
    return sorted(axes, key=lambda axis: order.index(axis[0].section if axis[0].section in SHARED else None))


def combinations(axes: Iterable[Axis]) -> list[tuple[Assignment, ...]]:
    """Each value of each axis with each of all others; the last axis runs fastest."""
    return list(itertools.product(*axes))


def cells_of(
    methods: Sequence[str],
    encoders: Sequence[str],
    bits: Sequence[int],
    seeds: Sequence[int],
    axes: Sequence[Axis] = (),
    settings: Sequence[str] = (),
    names: Callable[[str, str], Collection[str]] = lambda method, encoders: (),
) -> list[Cell]:
    """The cells of one track, for swept settings of methods.

    A method without a swept setting has the cells that it would have without the sweep, and so has one for which
    alone the same setting is set or swept.

    Args:
        methods, encoders, bits, seeds: those asked for.
        axes: what is swept.
        settings: what is set, as typed.
        names: the settings that a method has with an entry of --encoders.

    Raises:
        HashzooError: no method has some swept setting.
    """
    own = {(a.method, a.section, a.key) for a in parse_assignments(settings, methods) if a.method}
    own |= {(axis[0].method, axis[0].section, axis[0].key) for axis in axes if axis[0].method}
    found, known, used = [], {name: set[str]() for name in methods}, set()
    for spec in encoders:
        for method in methods:
            has = names(method, spec) if axes else ()
            known[method] |= set(has)
            mine = []
            for axis in axes:
                first = axis[0]
                elsewhere = first.method is None and (method, first.section, first.key) in own
                if first.method in (None, method) and f"{first.section}.{first.key}" in has:
                    used.add(first.path)
                    mine += [] if elsewhere else [axis]
            found += [
                Cell(method, spec, n, seed, swept) for swept in combinations(mine) for n in bits for seed in seeds
            ]
    for first in (axis[0] for axis in axes if axis[0].path not in used):
        path = f"{first.section}.{first.key}"
        there = known[first.method] if first.method else set().union(*known.values())
        inside = {name for name in there if name.startswith(f"{first.section}.")}
        who = f"'{first.method}' has no setting" if first.method else "no method asked for has the setting"
        raise HashzooError(f"{who} '{path}'{did_you_mean(path, inside or there)}")
    return found


def setting_names(zoo: Zoo, raw: Collection[str], method: str, encoders: str) -> list[str]:
    """The paths of all settings that a method has with an entry of --encoders.

    They are kept in the cache, by the digest of all sources and packages: to find them, plugins are imported.
    """
    key = digest([sources(zoo), environment(), method, encoders, sorted(raw)])
    path = cache_dir() / "settings" / f"{key[:24]}.json"
    if path.exists():
        try:
            return list(read_json(path)["names"])
        except (HashzooError, KeyError, TypeError):
            path.unlink(missing_ok=True)
    recipe = zoo.find("method", method)[1]
    names = list(build(zoo, method, pair_of(encoders, recipe, zoo, raw), []).settings())
    write_json(path, {"method": method, "encoders": encoders, "names": names})
    return names
