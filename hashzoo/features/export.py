"""Features of a data set into an archive, computed once where there is a GPU, and archives under names of their own."""

from __future__ import annotations

import functools
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hashzoo import zoo
from hashzoo.benches.benchmark import FLOOR_METHOD, check_batch_size
from hashzoo.benches.plan import check_device, find_device
from hashzoo.benches.shard import Shard
from hashzoo.errors import HashzooError
from hashzoo.opening import open_dataset
from hashzoo.recipe import ROLES, Recipe, build, check_used, pair_of, parse_encoders
from hashzoo.runners import Kind, Watch, check_jobs, check_runner, named_runner
from hashzoo.runners.parts import Spread, asked, make_array, make_part, make_share, missing_arrays, need_of
from hashzoo.settings import parse_assignments
from hashzoo.storage.arrays import Wanted
from hashzoo.storage.files import cache_dir, write_error

if TYPE_CHECKING:
    from hashzoo.benches.workbench import Workbench


def export(
    dataset: str,
    encoders: str,
    folder: Path,
    *,
    settings: Iterable[str] = (),
    device: str = "auto",
    batch_size: int | None = None,
    jobs: int | None = None,
    runner: str | None = None,
    ray_address: str = "",
    shard: str = "",
) -> dict[str, Any]:
    """Compute the features of all rows (or take them from the cache) and put them into an archive.

    Args:
        dataset: name of a data set, with its variant ("emoji/full").
        encoders: "lite", IMAGE+TEXT, or one encoder, which gives features of what it encodes alone.
        folder: of the archive; it does not exist yet.
        settings: of the data set and the encoders, such as "image.pixels=224" or "image.stored=float16".
        device: "auto", "cpu", "cuda" or "cuda:N".
        batch_size: rows that an encoder takes at once; None is what suits the device.
        jobs, runner, ray_address: where features are computed, as in `bench`; None is this process.
        shard: "2/8" computes the second of eight shares of what is missing into the cache, and makes no archive.

    Returns:
        The manifest; of a share {"schema", "shard": {"number", "of"}, "rows": by modality, "of_rows"}.
    """
    from hashzoo.encoders.archive import check_new, read_manifest, write_archive

    check_device(device)
    check_batch_size(batch_size)
    check_runner(runner, ray_address)
    check_jobs(runner, jobs)
    share = Shard.parse(shard) if shard else None
    told = {
        **{"dataset": dataset, "encoders": encoders, "settings": list(settings)},
        **{"device": device, "batch_size": batch_size},
    }
    check_new(folder)
    here = Features(told)
    rows: dict[str, int] = {}
    if share or runner not in (None, "local"):
        chosen = named_runner(runner or "local", jobs, ray_address, device)
        need = need_of(chosen, device)
        with chosen.workers(Kind("hashzoo.features.export:Features", told, lambda: here, need.gpu)) as workers:
            for role, words in asked(workers, replace(need, words={"do": "features"}))["arrays"].items():
                wanted, spread = Wanted(**words), Spread(workers, {"role": role}, need)
                if share:
                    rows[role] = make_share(wanted, share, spread)
                else:
                    make_array(wanted, spread)
    if share:
        about = {"number": share.number, "of": share.of}
        return {"schema": 1, "shard": about, "rows": rows, "of_rows": len(here.opened[0].dataset)}

    bench, recipe, roles = here.opened
    cards = {role: dict(bench.described(recipe, role).card) for role in roles}
    write_archive(folder, bench.dataset, {role: bench.encoded(recipe, role).features for role in roles}, cards)
    return read_manifest(folder)


class Features:
    """Computes parts of the features that an archive is made of, for a runner; `told` are the arguments of `export`."""

    def __init__(self, told: Mapping[str, Any]):
        self._told = told

    @functools.cached_property
    def opened(self) -> tuple[Workbench, Recipe, list[str]]:
        """The data set, the encoders, and which roles are asked for."""
        known, told = zoo.load(), self._told
        (spec, *more) = parse_encoders(told["encoders"], known)
        if more or spec == "paper":
            raise HashzooError("an archive has the features of one pair of encoders; write IMAGE+TEXT, or one encoder")
        assignments = parse_assignments(told["settings"], [], (*ROLES, "dataset"))
        data = open_dataset(told["dataset"], assignments)
        pair = pair_of(spec, known.find("method", FLOOR_METHOD)[1], known, data.raw)
        recipe = build(known, FLOOR_METHOD, pair, assignments)
        check_used(assignments, [recipe])

        from hashzoo.benches.track import Track
        from hashzoo.benches.workbench import Workbench

        bench = Workbench(data, Track.of(data), find_device(told["device"]), None, told["batch_size"])
        return bench, recipe, [role for role in ROLES if spec == "lite" or "+" in spec or pair[role] == spec]

    def do(self, one: dict[str, Any], watch: Watch) -> dict[str, Any]:
        if one["do"] == "fail":
            return {"lost": one["reason"]}
        bench, recipe, roles = self.opened
        if one["do"] == "features":
            return {"arrays": {role: asdict(wanted) for role, wanted in missing_arrays(bench, recipe, roles).items()}}
        return make_part(bench, recipe, one["role"], one, watch)


def import_archive(source: Path, name: str = "", link: bool = False) -> tuple[str, dict[str, Any]]:
    """Put an archive into the cache under a name, once every byte of it is what its manifest says.

    Args:
        source: folder of the archive.
        name: under which `--encoders archive:NAME` finds it; that of the folder when empty.
        link: leave the files where they are.

    Returns:
        The name, and the manifest.

    Raises:
        HashzooError: it is no sound archive, or another one has that name.
    """
    from hashzoo.encoders.archive import open_part, read_manifest

    manifest = read_manifest(source)
    for role, part in manifest["modalities"].items():
        open_part(source, role, part)
    name = name or source.resolve().name
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]{0,99}", name):
        raise HashzooError(f"'{name}' is no name for an archive; give one of letters and digits with --as")
    target = cache_dir() / "archives" / name
    if target.exists():
        if read_manifest(target) != manifest:
            raise HashzooError(f"{target} is another archive of that name; choose another with --as, or remove it")
        return name, manifest
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)  # a link to what is gone
        if link:
            target.symlink_to(source.resolve(), target_is_directory=True)
            return name, manifest
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{name}.") as folder:
            copy = Path(folder) / name
            copy.mkdir()
            for file in (*(f"{role}.npy" for role in manifest["modalities"]), "manifest.json"):
                shutil.copyfile(source / file, copy / file)
            os.replace(copy, target)
    except OSError as error:
        raise write_error(target, error) from error
    return name, manifest
