"""The convolution layer of docs/guide/convolution-layer.md, against loops over output pixels, channels first."""

import re
from itertools import product
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import closedform as cf

PAGE = Path(__file__).parents[1] / "docs" / "guide" / "convolution-layer.md"


@pytest.fixture(scope="module")
def layer():
    """What the page's block of Python defines."""
    code = re.search(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    names = {}
    exec(compile(code[1], str(PAGE), "exec"), names)
    return SimpleNamespace(**names)


def loops(x, w, b, dout, stride, pad):
    """out, dx, dw, db: the definition, and its derivative, one output at a time."""
    (_, _, H, W), (_, _, HH, WW) = x.shape, w.shape
    xp = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    out, dxp, dw, db = np.zeros_like(dout), np.zeros_like(xp), np.zeros_like(w), np.zeros_like(b)
    for n, f, i, j in product(*map(range, dout.shape)):
        window = np.s_[n, :, i * stride : i * stride + HH, j * stride : j * stride + WW]
        out[n, f, i, j] = np.sum(xp[window] * w[f]) + b[f]
        dxp[window] += dout[n, f, i, j] * w[f]
        dw[f] += dout[n, f, i, j] * xp[window]
        db[f] += dout[n, f, i, j]
    return out, dxp[:, :, pad : pad + H, pad : pad + W], dw, db


@pytest.mark.parametrize("backend", ["compiled", "reference"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("x", "w", "stride", "pad"),
    [
        ((2, 3, 4, 5), (3, 3, 4, 4), 2, 1),
        ((2, 3, 7, 6), (5, 3, 3, 2), 1, 0),
        ((1, 1, 5, 8), (2, 1, 3, 3), 3, 1),
        ((3, 4, 3, 3), (4, 4, 1, 1), 1, 0),
        ((2, 2, 2, 3), (3, 2, 5, 5), 1, 2),  # images smaller than the window
        ((1, 2, 8, 7), (2, 2, 3, 3), 2, 0),  # a row of pixels is left over
    ],
)
def test_layer_equals_loops(layer, x, w, stride, pad, dtype, backend):
    rng = np.random.default_rng([*x, *w])
    x, w = (rng.integers(-4, 5, s).astype(dtype) for s in (x, w))  # sums are exact
    b = rng.integers(-4, 5, len(w)).astype(dtype)
    conv_param = {"stride": stride, "pad": pad}
    with cf.use_backend(backend):
        out, cache = layer.conv_forward(x, w, b, conv_param)
        dout = rng.integers(-4, 5, out.shape).astype(dtype)
        got = (out, *layer.conv_backward(dout, cache))
    for name, g, e in zip(("out", "dx", "dw", "db"), got, loops(x, w, b, dout, stride, pad), strict=True):
        assert g.dtype == dtype
        np.testing.assert_array_equal(g, e, err_msg=name)
