"""Features of a data set into an archive, computed once where there is a GPU, and archives under names of their own."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from hashzoo import zoo
from hashzoo.benchmark import FLOOR_METHOD, check_batch_size
from hashzoo.errors import HashzooError
from hashzoo.opening import open_dataset
from hashzoo.plan import check_device, find_device
from hashzoo.recipe import ROLES, build, check_used, pair_of, parse_encoders
from hashzoo.settings import parse_assignments
from hashzoo.storage import cache_dir, write_error


def export(
    dataset: str,
    encoders: str,
    folder: Path,
    *,
    settings: Iterable[str] = (),
    device: str = "auto",
    batch_size: int | None = None,
) -> dict[str, Any]:
    """Compute the features of all rows (or take them from the cache) and put them into an archive.

    Args:
        dataset: name of a data set, with its variant ("emoji/full").
        encoders: "lite", IMAGE+TEXT, or one encoder, which gives features of what it encodes alone.
        folder: of the archive; it does not exist yet.
        settings: of the data set and the encoders, such as "image.pixels=224" or "image.stored=float16".
        device: "auto", "cpu", "cuda" or "cuda:N".
        batch_size: rows that an encoder takes at once; None is what suits the device.

    Returns:
        The manifest.
    """
    known = zoo.load()
    check_device(device)
    check_batch_size(batch_size)
    (spec, *more) = parse_encoders(encoders, known)
    if more or spec == "paper":
        raise HashzooError("an archive has the features of one pair of encoders; write IMAGE+TEXT, or one encoder")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise HashzooError(f"{folder} exists already; give a new folder")
    assignments = parse_assignments(settings, [], (*ROLES, "dataset"))
    data = open_dataset(dataset, assignments)
    pair = pair_of(spec, known.find("method", FLOOR_METHOD)[1], known, data.raw)
    recipe = build(known, FLOOR_METHOD, pair, assignments)
    check_used(assignments, [recipe])

    from hashzoo.encoders.archive import read_manifest, write_archive
    from hashzoo.track import Track
    from hashzoo.workbench import Workbench

    bench = Workbench(data, Track.of(data), find_device(device), None, batch_size)
    roles = [role for role in ROLES if spec == "lite" or "+" in spec or pair[role] == spec]
    cards = {role: dict(bench.described(recipe, role).card) for role in roles}
    write_archive(folder, data, {role: bench.encoded(recipe, role).features for role in roles}, cards)
    return read_manifest(folder)


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
