"""From a path to the table that lies there."""

from __future__ import annotations

from pathlib import Path

from hashzoo.data.table_arrow import is_saved, open_parquet, open_saved, saved_files
from hashzoo.data.table_files import Csv, JsonLines, Shards, Source, head
from hashzoo.errors import HashzooError

FORMATS = (".jsonl", ".csv", ".tsv", ".parquet")


def files_of(path: Path) -> tuple[Path, ...]:
    """The files that the table of a path is read from: itself, or those of a folder."""
    try:
        if path.is_dir():
            if is_saved(path):
                return tuple(file for _, files in saved_files(path) for file in files)
            shards = tuple(sorted(path.glob("*.tar")))
            files = (p for p in path.iterdir() if p.suffix.lower() in FORMATS and p.is_file())
            tables = sorted(p for p in files if not p.name.startswith("."))
            if len(tables) == 1:
                return (tables[0],)
            if tables:
                raise HashzooError(
                    f"{path} holds {len(tables)} tables ({head((p.name for p in tables), 5)}); "
                    f"name one: table:{path / tables[0].name}"
                )
            if shards:
                return shards
            raise HashzooError(f"{path} holds no table, saved data set or tar shards; give a {', '.join(FORMATS)} file")
        if not path.is_file():
            raise HashzooError(f"there is no table {path}; type table:PATH, with a path from where you are")
    except (OSError, ValueError) as error:
        raise HashzooError(f"{path} cannot be read ({error}); check the path and its permissions") from error
    if path.suffix.lower() not in FORMATS:
        raise HashzooError(f"{path.name} is no table that can be read; give a {', '.join(FORMATS)} file, or a folder")
    return (path,)


def open_source(path: Path) -> Source:
    """The table of a path: a file by its ending; a folder that holds one, a saved data set, or tar shards."""
    files = files_of(path)
    try:
        if is_saved(path):
            return open_saved(path)
        ending = files[0].suffix.lower()
        if ending == ".tar":
            return Shards(path)
        if ending == ".parquet":
            return open_parquet(files[0])
        return JsonLines(files[0]) if ending == ".jsonl" else Csv(files[0])
    except OSError as error:
        raise HashzooError(f"{path} cannot be read ({error.strerror or error}); check its permissions") from error
