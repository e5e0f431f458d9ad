"""MATLAB files as data: numeric arrays by name, from v5 (.mat of scipy) and v7.3 (HDF5), and nothing else."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from hashzoo.errors import HashzooError

HDF5 = b"\x89HDF\r\n\x1a\n"
INSTALL = "type pip install 'hashzoo[data]'"


def read_matlab(path: Path) -> Mapping[str, np.ndarray]:
    """The numeric arrays of a MATLAB file by name, with MATLAB's axes; cells, structs and text are left out.

    Raises:
        HashzooError: the file is missing, is no MATLAB file, is cut off, or a reader is not installed.
    """
    try:
        with open(path, "rb") as file:
            beginning = file.read(512 + len(HDF5))
    except OSError as error:
        raise HashzooError(
            f"{path} cannot be read ({error.strerror or error}); give the path of a .mat file"
        ) from error
    if beginning.startswith(HDF5) or beginning[512:] == HDF5:
        return _read_hdf5(path)
    try:
        from scipy.io import loadmat
        from scipy.io.matlab import MatReadError
    except ImportError:
        raise HashzooError(f"reading {path.name} needs scipy, which is not installed: {INSTALL}", exit_code=1) from None
    try:
        found = loadmat(path)
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
    return {
        name: array for name, array in found.items() if isinstance(array, np.ndarray) and array.dtype.kind in "biuf"
    }


def _read_hdf5(path: Path) -> dict[str, np.ndarray]:
    try:
        import h5py
    except ImportError:
        raise HashzooError(f"reading {path.name} needs h5py, which is not installed: {INSTALL}", exit_code=1) from None
    try:
        with h5py.File(path, "r") as file:
            plain = {
                name: item
                for name in file
                # A soft or external link could lead out of the file.
                if isinstance(file.get(name, getlink=True), h5py.HardLink)
                and isinstance(item := file[name], h5py.Dataset)
                and item.dtype.kind in "biuf"
            }
            # MATLAB is column-major: its axes are stored in reverse.
            return {name: item[()].T for name, item in plain.items()}
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise HashzooError(f"{path} is no readable MATLAB file ({error}); get it anew") from error
