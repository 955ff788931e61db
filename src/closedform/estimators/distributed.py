"""Row blocks of dask arrays: something of every block, and its sum over the blocks, computed where the blocks are.

That is on the workers of the active `distributed.Client`, or else on dask's own scheduler. Only results travel, and
they are merged in one tree over the blocks, in their order: the bits depend on how the rows are cut, not on the number
of workers nor on which of them is first. Tasks are functions of their arguments alone, so that dask computes again what
a lost worker had. N rows, D features, B blocks.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from copy import copy
from functools import partial, reduce
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted, validate_data

from .._backend import get_backend, use_backend
from .._results import Array

FAN_IN = 8  # results that one task merges


def is_dask(a: Any) -> bool:
    """Is it a dask array? Who has one has imported dask; nobody else needs it."""
    module = sys.modules.get("dask.array")
    return module is not None and isinstance(a, module.Array)


def in_rows(X: Any) -> Any:
    """X (N, D), cut between rows only. The sizes of its chunks need not be known."""
    if X.ndim != 2 or math.isnan(X.shape[1]):
        raise ValueError(f"X: expected shape (N, D) with a known number of features D; got {X.shape}")
    return X.rechunk({1: -1})


def row_blocks(X: Any, **columns: Any) -> list[list[Any]]:
    """B blocks of X (N, D), and of each column (N,), in dask or in memory, the same rows; of None, B times None."""
    X = in_rows(X)
    B = X.numblocks[0]
    found = [list(X.to_delayed()[:, 0])]
    for name, column in columns.items():
        found.append([None] * B if column is None else list(_aligned(name, column, X).to_delayed()))
    return found


def _aligned(name: str, column: Any, X: Any) -> Any:
    import dask.array as da

    shape, N = np.shape(column), X.shape[0]
    known = not math.isnan(N) and not any(math.isnan(n) for n in shape)
    if known and shape == (N,):
        rows = X.chunks[:1]
        return column.rechunk(rows) if is_dask(column) else da.from_array(np.asarray(column), chunks=rows)
    if known or not is_dask(column) or column.numblocks != X.numblocks[:1]:
        unknown = "" if known else f", in the {X.numblocks[0]} chunks of X, the sizes of which are not known"
        raise ValueError(f"{name}: expected shape ({N},), one number for each row of X{unknown}; got {shape}")
    return column  # block by block, then


def each(f: Callable[..., Any], *blocks: Sequence[Any], shared: tuple[Any, ...] = ()) -> list[Any]:
    """f(*a block of each, *shared) for every block, to be computed; on the backend in use here."""
    from dask import delayed

    arguments = [delayed(a, traverse=False) for a in shared]  # nodes of the graph: they travel once
    task = delayed(partial(_run, get_backend(), f), pure=False, traverse=False)
    return [task(*block, *arguments) for block in zip(*blocks, strict=True)]


def held(parts: list[Any]) -> list[Any]:
    """On a cluster, the parts computed once, and kept by its workers as long as the result is in use.

    What does not fit into their memory they spill to their disks. In one process there is no other memory than that
    which the parts were too large for: there, they are computed whenever they are used.
    """
    import dask

    scheduler = dask.base.get_scheduler()
    on_cluster = hasattr(getattr(scheduler, "__self__", None), "persist")  # the method `get` of a client
    return list(dask.persist(*parts)) if on_cluster else parts


def merged(add: Callable[[Any, Any], Any], parts: list[Any]) -> Any:
    """add(add(parts[0], parts[1]), ...), in a tree, to be computed."""
    from dask import delayed

    merge = delayed(_merge, pure=False)
    while len(parts) > 1:
        parts = [merge(add, parts[i : i + FAN_IN]) for i in range(0, len(parts), FAN_IN)]
    return parts[0]


def map_rows(f: Callable[[Array], Array], X: Any, dtype: Any, width: int | None = None) -> Any:
    """f of each row block, (rows,) or (rows, width), as a dask array: computed when it is asked for."""
    X, shape = in_rows(X), () if width is None else (width,)
    empty = np.empty((0, *shape), dtype)
    task = partial(_run, get_backend(), partial(_unless_empty, f, empty))
    if width is None:
        return X.map_blocks(task, drop_axis=1, meta=empty)
    return X.map_blocks(task, chunks=(X.chunks[0], (width,)), meta=empty)


def mapped(
    estimator: Any, method: str, X: Any, dtype: Any = None, width: int | None = None, **without: Any
) -> Array:
    """The method, by what the estimator has learnt up to now, of each row block: a dask array, too.

    dtype : of the answers, None for that of X
    without : attributes of the estimator that need not travel, and what takes their place
    """
    check_is_fitted(estimator)
    X = in_rows(X)
    validate_data(estimator, X, reset=False, skip_check_array=True)  # the names and number of features
    now = copy(estimator)
    vars(now).update(without)
    answers: Array = map_rows(getattr(now, method), X, float_of(X) if dtype is None else dtype, width)
    return answers


def float_of(X: Any) -> Any:
    """What the blocks of X are when they are computed with."""
    return np.float32 if X.dtype == np.float32 else np.float64


# -- on the workers --


def _run(backend: str, f: Callable[..., Any], *arguments: Any) -> Any:
    with use_backend(backend):
        return f(*arguments)


def _merge(add: Callable[[Any, Any], Any], parts: list[Any]) -> Any:
    return reduce(add, parts)


def _unless_empty(f: Callable[[Array], Array], empty: Array, x: Array) -> Array:
    return f(x) if len(x) else empty
