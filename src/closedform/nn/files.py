"""Models in files: parameters and state as safetensors, the architecture as JSON in the header. Never pickle."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from .._results import Array
from . import activations, convolution, dense, embedding, layers, normalization, pooling, recurrent
from .layer import Layer
from .layers import Sequential

KEY, VERSION = "closedform.nn", 1  # in the file's metadata: one entry, so that equal models are equal files
KINDS: dict[str, type[Layer]] = {
    kind.__name__: kind
    for kind in (
        dense.Dense,
        layers.Dropout,
        layers.Flatten,
        layers.Sequential,
        activations.GELU,
        activations.ReLU,
        activations.Sigmoid,
        activations.Softplus,
        activations.Tanh,
        convolution.Conv2d,
        normalization.BatchNorm,
        pooling.AvgPool2d,
        pooling.MaxPool2d,
        embedding.Embedding,
        embedding.LastStep,
        recurrent.LSTM,
        recurrent.RNN,
    )
}


def save(model: Layer, path: str | os.PathLike[str]) -> None:
    """Write a model to `path`, as a safetensors file, from which `load` rebuilds it bit for bit.

    Any safetensors reader can open the parameters and the state, such as running statistics. What training keeps
    besides (gradients, random streams, the state of the optimiser) is not saved. The file appears complete or
    not at all.

    Raises TypeError for layers that are not of closedform.nn, OSError where the file cannot be written,
    ImportError without safetensors (`pip install "closedform[train]"`).
    """
    import json

    numpy = _safetensors("numpy")
    metadata = {KEY: json.dumps({"version": VERSION, "model": _describe(model)})}
    arrays = {name: np.ascontiguousarray(a) for name, a in _arrays(model).items()}
    part = os.fspath(path) + ".part"
    with open(part, "wb") as file:
        file.write(numpy.save(arrays, metadata))
    os.replace(part, path)


def load(path: str | os.PathLike[str]) -> Layer:
    """The model that `save` wrote to `path`.

    Raises FileNotFoundError, or ValueError if the file is of another origin or damaged; ImportError without
    safetensors.
    """
    import json  # here, not above: `import closedform` should not wait for it

    safetensors = _safetensors()
    with open(path, "rb"):
        pass  # a clear error if it is not there or not readable
    try:
        with safetensors.safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    except safetensors.SafetensorError as e:
        raise ValueError(f"path: expected a safetensors file; got {str(path)!r}: {e}") from e
    if KEY not in metadata:
        raise ValueError(f"path: expected a file of closedform.nn.save; got {str(path)!r}, of another origin")
    try:
        architecture = json.loads(metadata[KEY])
        if architecture["version"] != VERSION:
            raise ValueError(f"version {architecture['version']} needs another version of closedform")
        model = _build(architecture["model"])
    except (KeyError, TypeError, ValueError, MemoryError, RecursionError) as e:
        raise ValueError(f"path: expected an architecture of closedform.nn in {str(path)!r}; {e}") from e
    places = _arrays(model)
    expected = {name: (p.shape, p.dtype) for name, p in places.items()}
    came = {name: (a.shape, a.dtype) for name, a in arrays.items()}
    if came != expected:
        raise ValueError(
            f"path: expected the parameters and state {expected}, from the architecture; got {came}"
        )
    for name, p in places.items():
        p[...] = arrays[name]
    return model


def _arrays(model: Layer) -> dict[str, Array]:
    """All that makes inference what it is: the names of parameters and state are distinct."""
    return {**model.parameters(), **model.state()}


def _describe(layer: Layer) -> dict[str, Any]:
    name = type(layer).__name__
    if KINDS.get(name) is not type(layer):
        raise TypeError(f"model: expected layers of closedform.nn; got {type(layer).__name__}")
    if isinstance(layer, Sequential):
        return {"layer": name, "layers": [_describe(inner) for inner in layer.layers]}
    return {"layer": name, **layer.config()}


def _build(described: Any) -> Layer:
    config = dict(described)
    name = config.pop("layer")
    if name not in KINDS:
        raise ValueError(f"unknown layer {name!r}")
    if name == "Sequential":
        return Sequential([_build(inner) for inner in config["layers"]])
    if "init" in config:  # nothing to draw: the parameters come from the file
        layer = KINDS[name](**{**config, "init": "zeros"})
        layer.init = config["init"]  # type: ignore[attr-defined]
        return layer
    return KINDS[name](**config)


def _safetensors(module: str = "") -> Any:
    try:
        import safetensors
        import safetensors.numpy
    except ImportError as e:
        raise ImportError('model files need safetensors: pip install "closedform[train]"') from e
    return safetensors.numpy if module == "numpy" else safetensors
