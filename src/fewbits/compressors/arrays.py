"""A batch of tensors as the rows of a NumPy array, and back: what the scalar compressors compute on.

Everything is per row and in an order that does not depend on the other rows, so that a row's result is the
same, bit for bit, in any batch. (torch's reductions promise no such thing; NumPy calls BLAS for one row at a time.)
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from fewbits.lazy import torch

BLOCK = 1 << 15  # columns summed at once, whatever the number of rows
AT_ONCE = (
    1 << 17
)  # numbers handled at once where nothing is summed: a call costs as much as thousands of them


def as_rows(x: torch.Tensor, d: int, wire: str) -> np.ndarray:
    """`x` (*batch, *shape) rounded to the float format `wire`, as (n, d) float32 or float64."""
    x = x.detach().cpu()
    if x.dtype not in (torch.float32, torch.float64):
        x = x.float()
    rows = x.reshape(-1, d).contiguous().numpy()
    with np.errstate(over="ignore"):
        return rows.astype(wire, copy=False).astype(rows.dtype, copy=False)


def as_tensor(rows: np.ndarray, like: torch.Tensor) -> torch.Tensor:
    """(n, d) as a tensor with the shape, dtype and device of `like`."""
    return torch.from_numpy(rows).reshape(like.shape).to(like)


def work_type(dtype) -> type:
    """The NumPy type in which a tensor of `dtype` is computed."""
    return np.float64 if dtype == torch.float64 else np.float32


def as_keys(keys, n: int) -> np.ndarray:
    """One uint64 key a row: (n,)."""
    return np.zeros(n, np.uint64) if keys is None else np.asarray(keys, np.uint64).reshape(n)


def peaks(rows: np.ndarray) -> np.ndarray:
    """The largest magnitude of each row, (n,); not finite exactly where the row is not."""
    if len(rows) == 1 and rows.size:  # one pass instead of two; the extremes are exact either way
        low, high = torch.aminmax(torch.from_numpy(rows))
        return np.maximum(np.array([high.item()]), -low.item()).astype(rows.dtype).clip(0)
    peak = np.zeros(len(rows), rows.dtype)
    for columns in blocks(rows.shape[1]):
        part = rows[:, columns]
        np.maximum(peak, part.max(axis=-1, initial=0), out=peak)
        np.maximum(peak, -part.min(axis=-1, initial=0), out=peak)
    return peak


def refuse(peak: float, where: str, wire: str) -> None:
    """Raise ValueError naming `where` if the largest magnitude `peak` (as sent) is not finite."""
    if not np.isfinite(peak):
        text = f"NaN, infinity or a number beyond {wire} cannot be encoded"
        raise ValueError(f"{where}: {text}")


def blocks(d: int, step: int = BLOCK) -> Iterator[slice]:
    """Slices that cut d columns into blocks."""
    for start in range(0, d, step):
        yield slice(start, min(start + step, d))


def columns_at_once(rows: int, d: int) -> int:
    """Columns to handle together, of that many rows of d numbers, so that working arrays stay in the cache. Even."""
    most = 2 * AT_ONCE // max(2, rows)
    return min(d + d % 2, max(1 << 12, 1 << most.bit_length() - 1))


def room(rows: np.ndarray) -> np.ndarray:
    """A working array for as many columns of `rows` (n, d)."""
    return np.empty((len(rows), columns_at_once(*rows.shape)), rows.dtype)


def norms(rows: np.ndarray, peak: np.ndarray, power: int) -> np.ndarray:
    """The 1-norm or 2-norm of each row (n,), float64, at least the row's largest magnitude `peak`.

    Computed in the type of `rows` block by block, where needed after division by a power of two near the peak,
    so that neither overflows nor underflows.
    """
    n, d = rows.shape
    limit = np.finfo(rows.dtype).maxexp - 2
    unit = np.clip(np.frexp(peak)[1], -limit, limit)
    unit = np.where(np.abs(unit) < limit // 4, 0, unit)  # exact either way, but this is faster
    scale = np.ldexp(np.ones((), rows.dtype), -unit)[:, None]
    work, total = np.empty((n, min(BLOCK, d)), rows.dtype), np.zeros(n)
    for columns in blocks(d):
        part = work[:, : columns.stop - columns.start]
        source = np.multiply(rows[:, columns], scale, out=part) if unit.any() else rows[:, columns]
        if power == 2:
            total += np.matmul(source[:, None], source[..., None])[:, 0, 0]
        else:
            total += np.abs(source, out=part).sum(axis=-1)
    with np.errstate(over="ignore"):
        return np.maximum(np.ldexp(np.sqrt(total) if power == 2 else total, unit), peak)
