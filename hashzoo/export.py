"""Features of a data set into an archive: computed once where there is a GPU, used anywhere."""

from __future__ import annotations

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
    from hashzoo.run import Workbench
    from hashzoo.track import Track

    bench = Workbench(data, Track.of(data), find_device(device), None, batch_size)
    roles = [role for role in ROLES if spec == "lite" or "+" in spec or pair[role] == spec]
    cards = {role: bench.encoder(recipe, role)[1] for role in roles}
    write_archive(folder, data, {role: bench.encoded(recipe, role).features for role in roles}, cards)
    return read_manifest(folder)
