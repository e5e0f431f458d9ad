"""Packed binary codes: pack, unpack, store, and a first look at their health."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hashzoo.errors import HashzooError
from hashzoo.storage.files import read_arrays, write_arrays

MAX_BITS = 4096
PACK_ROWS = 1 << 16  # rows converted at a time, so that nothing needs a second full-size array
PACK_VALUES = 1 << 19  # values packed at a time: the test for NaN leaves them in the cache for the comparison
ShareOut = Callable[[Callable[[slice], None], int], None]
CORRELATION_WORK = 1 << 34  # multiply-adds that `health` may spend on bit correlations


@dataclass(frozen=True, eq=False)
class Codes:
    """N binary codes of `bits` bits, eight to a byte.

    Attributes:
        data: (N, ceil(bits / 8)) uint8. Bit j of a code is bit j % 8, counted from the least
            significant, of byte j // 8. Padding bits are 0.
        bits: code length, 1 to 4096.
        ids: optional (N,) integers or strings that name the rows.

    Raises HashzooError when the parts contradict each other. The arrays are kept, not copied.
    """

    data: np.ndarray
    bits: int
    ids: np.ndarray | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.bits <= MAX_BITS:
            raise HashzooError(f"a code has 1 to {MAX_BITS} bits, not {self.bits}; give another number of bits")
        width = -(-self.bits // 8)
        if self.data.ndim != 2 or self.data.dtype != np.uint8 or self.data.shape[1] != width:
            raise HashzooError(
                f"packed codes of {self.bits} bits are a (rows, {width}) uint8 array, not "
                f"{self.data.shape} {self.data.dtype}; use hashzoo.codes.pack for unpacked values"
            )
        used = self.bits % 8
        if used and np.any(self.data[:, -1] >> used):
            raise HashzooError(f"padding bits after bit {self.bits} are not 0; make the codes with hashzoo.codes.pack")
        if self.ids is not None and (self.ids.shape != (len(self.data),) or self.ids.dtype.kind not in "iuU"):
            raise HashzooError(f"ids must be {len(self.data)} integers or strings, one a code")

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, rows: Any) -> Codes:
        """The codes of some rows: a number, a slice, an array of numbers or a mask; always (n, ...) shaped."""
        if isinstance(rows, int | np.integer):
            rows = [rows]
        return Codes(self.data[rows], self.bits, None if self.ids is None else self.ids[rows])

    def unpack(self) -> np.ndarray:
        """(N, bits) bool."""
        return np.unpackbits(self.data, axis=1, count=self.bits, bitorder="little").view(np.bool_)

    def digest(self) -> str:
        """SHA-256 (hex) of the length, the codes and the ids."""
        sha = hashlib.sha256(f"codes {self.bits} {len(self)}|".encode())
        sha.update(np.ascontiguousarray(self.data).data)
        if self.ids is not None:
            kind = "U" if self.ids.dtype.kind == "U" else "i"
            sha.update(f"|ids {kind}|".encode())
            sha.update("\0".join(map(str, self.ids.tolist())).encode())
        return sha.hexdigest()


def to_numpy(values: Any) -> np.ndarray:
    """An array or a tensor of any device and dtype (bfloat16 widens) as a numpy array, not copied if possible."""
    if hasattr(values, "detach"):
        values = values.detach().cpu()
        try:
            return np.asarray(values.numpy())
        except TypeError:  # a floating type that numpy lacks
            return np.asarray(values.float().numpy())
    return np.asarray(values)


def all_at_once(task: Callable[[slice], None], rows: int) -> None:
    """The `share_out` of a caller without threads: one task for all rows."""
    task(slice(0, rows))


def pack(values: Any, ids: Any = None, *, share_out: ShareOut = all_at_once) -> Codes:
    """Pack real, +-1, 0/1 or bool values: bit = value > 0.

    Args:
        values: (N, bits) numpy array or torch tensor of any real dtype, device and memory order; not changed.
        ids: optional (N,) integers or strings.
        share_out: runs a task on slices that cover this many rows, perhaps on several threads.

    Raises HashzooError on NaN, on another number of dimensions, and on values that are not numbers.
    """
    array = to_numpy(values)
    if array.ndim != 2 or array.dtype.kind not in "fiub":
        raise HashzooError(
            f"codes to pack are a (rows, bits) array of numbers or booleans, not {array.ndim}-D {array.dtype}; "
            f"reshape or convert them first"
        )
    rows, bits = array.shape
    if not 1 <= bits <= MAX_BITS:
        raise HashzooError(f"a code has 1 to {MAX_BITS} bits, not {bits}; give another number of columns")
    data = np.empty((rows, -(-bits // 8)), dtype=np.uint8)
    share_out(lambda part: _pack_part(array, part, data), rows)
    return Codes(data, bits, None if ids is None else np.asarray(ids))


def _pack_part(array: np.ndarray, part: slice, data: np.ndarray) -> None:
    """Pack some of the rows into the same rows of `data`."""
    step = max(1, PACK_VALUES // array.shape[1])
    for start in range(part.start, min(part.stop, len(array)), step):
        block = array[start : min(start + step, part.stop)]
        if block.dtype.kind == "f" and np.isnan(block.min()):  # the least of numbers and NaN is NaN
            row = start + int(np.flatnonzero(np.isnan(block).any(axis=1))[0])
            raise HashzooError(f"row {row} of the codes holds NaN; find out which step made it before packing")
        data[start : start + len(block)] = pack_rows(block > 0)


def pack_rows(ones: np.ndarray) -> np.ndarray:
    """(N, B) bool -> (N, ceil(B / 8)) uint8, little bit order; numpy packs whole bytes faster than row by row."""
    rows, bits = ones.shape
    if bits % 8:
        padded = np.zeros((rows, bits + -bits % 8), dtype=np.bool_)
        padded[:, :bits] = ones
        ones = padded
    return np.packbits(np.ascontiguousarray(ones).reshape(-1), bitorder="little").reshape(rows, -1)


def as_codes(values: Any, *, share_out: ShareOut = all_at_once) -> Codes:
    """Codes as they are, anything else through `pack`."""
    return values if isinstance(values, Codes) else pack(values, share_out=share_out)


def as_words(data: np.ndarray) -> np.ndarray:
    """(N, B) uint8 -> (N, ceil(B / 8)) uint64, zero-filled; a view where the rows are whole words."""
    rows, width = data.shape
    words = -(-width // 8)
    if width != 8 * words:
        padded = np.zeros((rows, 8 * words), dtype=np.uint8)
        padded[:, :width] = data
        data = padded
    return np.ascontiguousarray(data).view("<u8").astype(np.uint64, copy=False)


def save_codes(path: Path | str, **named: Codes) -> None:
    """Write codes under their names to one .npz file, whole or not at all; equal codes give equal bytes."""
    arrays: dict[str, np.ndarray] = {}
    for name in sorted(named):
        codes = named[name]
        if not name.isidentifier():
            raise HashzooError(f"codes cannot be stored under the name '{name}'; use letters, digits and _")
        arrays[f"{name}.bits"] = np.array(codes.bits, dtype=np.int64)
        arrays[f"{name}.data"] = codes.data
        if codes.ids is not None:
            arrays[f"{name}.ids"] = codes.ids
    write_arrays(Path(path), arrays)


def load_codes(path: Path | str) -> dict[str, Codes]:
    """Read what `save_codes` wrote; a missing, damaged or foreign file is an error that names it."""
    arrays = read_arrays(Path(path))
    names = [key.removesuffix(".data") for key in arrays if key.endswith(".data")]
    try:
        if not names:
            raise ValueError("it holds no codes")
        return {
            name: Codes(arrays[f"{name}.data"], int(arrays[f"{name}.bits"]), arrays.get(f"{name}.ids"))
            for name in names
        }
    except (ValueError, KeyError, TypeError, HashzooError) as error:
        raise HashzooError(
            f"{path} is not a readable codes file ({error}); delete it and make it again", exit_code=1
        ) from error


def health(codes: Codes) -> dict[str, int | float]:
    """What a collapsed code looks like, in plain numbers.

    Returns:
        rows, bits: the shape.
        constant_bits: bits that have one value in every row.
        unique_share: distinct codes / rows, in (0, 1].
        balance: mean over bits of 2 min(p, 1 - p), p the share of ones: 1 when every bit splits the
            rows in half, 0 when every bit is constant.
        bit_correlation: mean absolute Pearson correlation over pairs of non-constant bits (0 when
            there is no such pair); from evenly spaced rows where all of them would take too long.
    """
    if not len(codes):
        raise HashzooError("there are no codes to describe; encode at least one row")
    rows = len(codes)
    ones = np.zeros(codes.bits, dtype=np.int64)
    for start in range(0, rows, PACK_ROWS):
        ones += codes[start : start + PACK_ROWS].unpack().sum(axis=0, dtype=np.int64)
    share = ones / rows
    words = as_words(codes.data)
    unique = len(np.unique(words)) if words.shape[1] == 1 else len(np.unique(words.view(f"V{words.shape[1] * 8}")))
    return {
        "rows": rows,
        "bits": codes.bits,
        "constant_bits": int(np.count_nonzero((ones == 0) | (ones == rows))),
        "unique_share": unique / rows,
        "balance": float(np.mean(2 * np.minimum(share, 1 - share))),
        "bit_correlation": _bit_correlation(codes),
    }


def _bit_correlation(codes: Codes) -> float:
    codes = codes[:: max(1, -(-len(codes) * codes.bits**2 // CORRELATION_WORK))]
    sums, products = np.zeros(codes.bits), np.zeros((codes.bits, codes.bits))
    for start in range(0, len(codes), PACK_ROWS):
        spins = codes[start : start + PACK_ROWS].unpack().astype(np.float32)
        spins *= 2
        spins -= 1
        sums += spins.sum(axis=0, dtype=np.float64)
        products += spins.T @ spins  # whole numbers, which float32 holds exactly up to 2^24
    mean = sums / len(codes)
    varying = np.abs(mean) < 1
    pairs = int(varying.sum()) * (int(varying.sum()) - 1)
    if not pairs:
        return 0.0
    mean = mean[varying]
    covariance = products[np.ix_(varying, varying)] / len(codes) - np.outer(mean, mean)
    deviation = np.sqrt(1 - mean**2)
    correlation = np.abs(covariance / np.outer(deviation, deviation))
    return float((correlation.sum() - np.trace(correlation)) / pairs)
