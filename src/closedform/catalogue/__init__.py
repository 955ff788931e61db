"""The catalogue: every op of closedform, once. Tests, `verify`, `bench` and the docs read it.

To add an op: twin, kernel, binding line, wrapper, and an `Op` in the module of its family here. A test fails
until all exist. NumPy alone is needed, and `import closedform` does not import it.
"""

from __future__ import annotations

from collections.abc import Iterable

from . import (
    activation,
    boosting,
    convolution,
    cross_entropy,
    linear,
    loss,
    mixture,
    normalization,
    optimizer,
    pca,
    pooling,
    probability,
    recurrent,
)
from .compare import Judge, error_in_eps, outputs, traffic
from .op import BadCall, Bench, Call, Gradient, Op

OPS: tuple[Op, ...] = (
    *linear.OPS,
    *convolution.OPS,
    *activation.OPS,
    *probability.OPS,
    *loss.OPS,
    *cross_entropy.OPS,
    *normalization.OPS,
    *pooling.OPS,
    *recurrent.OPS,
    *optimizer.OPS,
    *pca.OPS,
    *mixture.OPS,
    *boosting.OPS,
)

# What is public, or compiled, and no op.
NOT_OPS = {
    "conv2d_output_shape": "arithmetic of shapes",
    "samme_alpha": "a formula of two numbers",
    "gradcheck": "checks ops",
    "get_backend": "run time",
    "set_backend": "run time",
    "use_backend": "run time",
    "get_num_threads": "run time",
    "set_num_threads": "run time",
    "num_threads": "run time",
    "release_memory": "run time",
    "show_config": "run time",
    "nn": "layers, made of ops",
    "reference": "the twins",
}
COMPILED = ("_boosting", "_kernels", "_mixture", "_pca")  # the compiled modules
HELPER_KERNELS = {  # of _kernels
    "exp": "elementary function under test",
    "log": "elementary function under test",
    "log1p": "elementary function under test",
    "erf": "elementary function under test",
    "first_outside": "checks values",
    "can_take": "checks `out`",
    "can_take_all": "checks `out`",
    "can_step": "checks the arguments of a recurrent step",
    "can_update": "checks the arrays of an optimiser",
    "first_bad_label": "checks class indices",
    "fma_rounds": "measures the machine",
    "copy": "measures the machine",
    "isa": "run time",
    "available_isas": "run time",
    "select_isa": "run time",
    "available_cpus": "run time",
    "get_num_threads": "run time",
    "set_num_threads": "run time",
    "held_bytes": "run time",
    "release_memory": "run time",
}


def find(names: Iterable[str]) -> list[Op]:
    """The ops of these names or families, in the catalogue's order; all, if there are no names."""
    names = list(names)
    known = {op.name for op in OPS} | {op.family for op in OPS}
    for name in names:
        if name not in known:
            raise ValueError(
                f"op: expected the name of an op or family, out of {', '.join(sorted(known))}; got {name!r}"
            )
    return [op for op in OPS if not names or op.name in names or op.family in names]


__all__ = [
    "COMPILED",
    "HELPER_KERNELS",
    "NOT_OPS",
    "OPS",
    "BadCall",
    "Bench",
    "Call",
    "Gradient",
    "Judge",
    "Op",
    "error_in_eps",
    "find",
    "outputs",
    "traffic",
]
