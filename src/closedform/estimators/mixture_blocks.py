"""Samples in a dask array: their sums are computed where its blocks are. N samples, D features, K components."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from .._results import Array
from . import mixture_missing
from .distributed import each, held, merged, row_blocks
from .mixture_parameters import Parameters
from .mixture_samples import Samples, Survey, drawn, together, with_patterns
from .mixture_statistics import Statistics, added
from .samples import block_rows


class Blocks:
    """What `Samples` are in memory; every block of rows is one such, on a worker.

    An iteration sends the parameters, and receives one sum over the blocks: both are O(K D²).
    """

    def __init__(self, X: Any, sample_weight: Any, missing: str, name: str) -> None:
        import dask

        x, w = row_blocks(X, sample_weight=sample_weight)
        blocks = held(each(_checked, x, w, shared=(missing, name)))
        found, lengths = dask.compute(merged(together, each(Samples.survey, blocks)), each(_rows, blocks))
        if found.rows == 0 and sample_weight is not None:
            raise ValueError("sample_weight: expected some weight > 0; got only zeros")
        self._survey: Survey = found
        self._missing = missing
        self._lengths = [n for n in lengths if n]
        self._blocks = [b for b, n in zip(blocks, lengths, strict=True) if n]

    @property
    def rows(self) -> int:
        return self._survey.rows

    @property
    def total(self) -> float:
        return self._survey.total

    def survey(self) -> Survey:
        return self._survey

    def beginning(self, random_state: Any) -> tuple[Array, Array | None]:
        """All rows if they are few, or else some of them, without gaps; and their weights."""
        import dask

        ends = np.cumsum(self._lengths)
        chosen = drawn(self.rows, random_state)
        chosen = np.arange(self.rows) if chosen is None else chosen
        rows = np.split(chosen, np.searchsorted(chosen, ends[:-1]))
        rows = [r - (end - n) for r, end, n in zip(rows, ends, self._lengths, strict=True)]
        parts = dask.compute(*each(_taken, self._blocks, rows))
        x = np.concatenate([part.x for part in parts])
        w = None if parts[0].weight is None else np.concatenate([part.weight for part in parts])
        return (mixture_missing.filled(x, self._survey.features) if np.isnan(x).any() else x), w

    def em_step(self, p: Parameters) -> tuple[float, Statistics]:
        """The mean log-likelihood of p, and what the M step needs of the samples."""
        parts = each(_em_step, self._blocks, shared=(replace(p, statistics=None),))
        bound, statistics = merged(partial(_add, p.covariance_type), parts).compute()
        return bound / self.total, statistics


# -- on the workers --


def _checked(x: Array, sample_weight: Array | None, missing: str, name: str) -> Samples:
    finite = "allow-nan" if missing == "marginalise" else True
    return with_patterns(*block_rows(x, sample_weight, name=name, finite=finite), missing)


def _rows(block: Samples) -> int:
    return block.rows


def _taken(block: Samples, rows: Array) -> Samples:
    return Samples(block.x[rows], None if block.weight is None else block.weight[rows])


def _em_step(block: Samples, p: Parameters) -> tuple[float, Statistics]:
    """The log-likelihood is a sum here: it adds up."""
    bound, statistics = block.em_step(p)
    return bound * block.total, statistics


def _add(
    covariance_type: str, a: tuple[float, Statistics], b: tuple[float, Statistics]
) -> tuple[float, Statistics]:
    return a[0] + b[0], added(a[1], b[1], covariance_type)
