"""MATLAB files as data: numeric arrays by name, from v5 (.mat of scipy) and v7.3 (HDF5), and nothing else."""

from __future__ import annotations

import zlib
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from hashzoo.errors import HashzooError

HDF5 = b"\x89HDF\r\n\x1a\n"
DEEPEST = 4  # cells in cells
INSTALL = "type pip install 'hashzoo[data]'"


def read_matlab(path: Path) -> Mapping[str, np.ndarray]:
    """The numeric arrays of a MATLAB file by name, with MATLAB's axes; cells, structs and text are left out.

    Raises:
        HashzooError: the file is missing, is no MATLAB file, is cut off, or a reader is not installed.
    """
    if _is_hdf5(path):
        return _read_hdf5(path)
    return {
        name: array
        for name, array in _read_v5(path, None).items()
        if isinstance(array, np.ndarray) and array.dtype.kind in "biuf"
    }


def read_matlab_texts(path: Path) -> Mapping[str, list[list[str]]]:
    """The texts of a MATLAB file by name: for each row of a character matrix or cell array, its strings.

    A variable that holds anything but text, at any depth, is left out.

    Raises:
        HashzooError: as `read_matlab`.
    """
    if _is_hdf5(path):
        return _read_hdf5_texts(path)
    found = {}
    for name, array in _read_v5(path, ("char", "cell")).items():
        if not isinstance(array, np.ndarray) or not array.ndim or array.dtype.kind not in "UO":
            continue
        # One row or one column are both a list; of more columns, each row has its own.
        listed = array.reshape(-1) if 1 in array.shape or array.ndim == 1 else list(array)
        rows = [_strings(item) for item in listed]
        if all(row is not None for row in rows):
            found[name] = [[text.rstrip() for text in row] for row in rows if row is not None]
    return found


def _strings(value: object, depth: int = 0) -> list[str] | None:
    """All strings in nested cells, in order; None where there is anything else."""
    if isinstance(value, str):
        return [str(value)]
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "UO" or depth > DEEPEST:
        return None
    parts = [_strings(item, depth + 1) for item in value.reshape(-1).tolist()]
    return None if any(part is None for part in parts) else [text for part in parts for text in part or ()]


def _is_hdf5(path: Path) -> bool:
    try:
        with open(path, "rb") as file:
            beginning = file.read(512 + len(HDF5))
    except OSError as error:
        raise HashzooError(
            f"{path} cannot be read ({error.strerror or error}); give the path of a .mat file"
        ) from error
    return beginning.startswith(HDF5) or beginning[512:] == HDF5


def _read_v5(path: Path, kinds: Collection[str] | None) -> Mapping[str, object]:
    """Every variable, or those of some MATLAB classes."""
    try:
        from scipy.io import loadmat, whosmat
        from scipy.io.matlab import MatReadError
    except ImportError:
        raise HashzooError(f"reading {path.name} needs scipy, which is not installed: {INSTALL}", exit_code=1) from None
    try:
        names = None if kinds is None else [name for name, _, kind in whosmat(path) if kind in kinds]
        return loadmat(path, variable_names=names)
    except (
        MatReadError,
        ValueError,
        TypeError,
        OSError,
        KeyError,
        NotImplementedError,
        zlib.error,
        MemoryError,
    ) as error:
        raise HashzooError(f"{path} is no readable MATLAB file ({error}); get it anew") from error


def _read_hdf5(path: Path) -> dict[str, np.ndarray]:
    with _hdf5(path) as variables:
        # MATLAB is column-major: its axes are stored in reverse.
        return {name: item[()].T for name, item in variables.items() if item.dtype.kind in "biuf"}


def _read_hdf5_texts(path: Path) -> dict[str, list[list[str]]]:
    found = {}
    with _hdf5(path) as variables:
        for name, item in variables.items():
            if item.attrs.get("MATLAB_class") == b"char" and item.ndim == 2 and item.dtype.kind == "u":
                found[name] = [[_characters(column)] for column in item[()].T]
                continue
            rows = [_cell(item.file, reference) for reference in item[()].reshape(-1)] if _is_cell(item) else [None]
            if all(row is not None for row in rows):
                found[name] = [row for row in rows if row is not None]
    return found


def _cell(file: Any, reference: Any, depth: int = 0) -> list[str] | None:
    """All strings that a cell holds, in order; None where it holds anything else."""
    if not reference or depth > DEEPEST:
        return None
    item = file[reference]
    if _is_cell(item):
        parts = [_cell(file, inner, depth + 1) for inner in item[()].reshape(-1)]
        return None if any(part is None for part in parts) else [text for part in parts for text in part or ()]
    if item.attrs.get("MATLAB_class") != b"char":
        return None
    # An empty string is stored as its size.
    return [""] if "MATLAB_empty" in item.attrs else [_characters(item[()].T.reshape(-1))]


def _is_cell(item: Any) -> bool:
    return item.attrs.get("MATLAB_class") == b"cell" and item.dtype.kind == "O"


def _characters(codes: np.ndarray) -> str:
    return codes.astype("<u2").tobytes().decode("utf-16-le", errors="replace").rstrip()


@contextmanager
def _hdf5(path: Path) -> Iterator[dict[str, Any]]:
    """The variables that lie in the file itself."""
    try:
        import h5py
    except ImportError:
        raise HashzooError(f"reading {path.name} needs h5py, which is not installed: {INSTALL}", exit_code=1) from None
    try:
        with h5py.File(path, "r") as file:
            yield {
                name: item
                for name in file
                # A soft or external link could lead out of the file.
                if isinstance(file.get(name, getlink=True), h5py.HardLink)
                and isinstance(item := file[name], h5py.Dataset)
            }
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise HashzooError(f"{path} is no readable MATLAB file ({error}); get it anew") from error
