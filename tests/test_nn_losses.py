"""Losses as objects: values and gradients are those of the functions."""

import numpy as np
import pytest

import closedform as cf
from closedform import nn

RNG = np.random.default_rng(0)
Z = RNG.standard_normal((7, 4))
P = RNG.uniform(0.1, 0.9, (7, 4))
LABELS = RNG.integers(0, 4, 7)
BITS = RNG.integers(0, 2, (7, 4)).astype(float)
SOFT = RNG.dirichlet(np.ones(4), 7)
WEIGHT = RNG.uniform(0.5, 2, 4)

CASES = [
    (nn.SquaredError, {}, Z, P, cf.squared_error),
    (nn.BinaryCrossEntropy, {}, P, BITS, cf.binary_cross_entropy),
    (nn.BinaryCrossEntropy, {"from_logits": True}, Z, BITS, cf.binary_cross_entropy_with_logits),
    (nn.CrossEntropy, {}, Z, LABELS, cf.cross_entropy),
    (nn.CrossEntropy, {}, Z, SOFT, cf.cross_entropy),
    (nn.CrossEntropy, {"weight": WEIGHT, "label_smoothing": 0.1}, Z, SOFT, cf.cross_entropy),
    (nn.CrossEntropy, {"weight": WEIGHT, "ignore_index": 2}, Z, LABELS, cf.cross_entropy),
]


@pytest.mark.parametrize("backend", ["compiled", "reference"])
@pytest.mark.parametrize("reduction", ["sum", "mean", "none"])
@pytest.mark.parametrize(("kind", "options", "y_hat", "y", "function"), CASES)
def test_value_and_gradient(kind, options, y_hat, y, function, reduction, backend):
    loss = kind(**options, reduction=reduction)
    arguments = {k: v for k, v in options.items() if k != "from_logits"} | {"reduction": reduction}
    with cf.use_backend(backend):
        value, gradient = loss.with_grad(y_hat, y)
        np.testing.assert_array_equal(value, loss(y_hat, y))
        np.testing.assert_array_equal(value, function(y_hat, y, **arguments))
        if reduction != "none":
            report = cf.gradcheck(lambda z: loss(z, y), lambda dy, z: dy * loss.with_grad(z, y)[1], [y_hat])
            assert report, str(report)
    assert gradient.shape == y_hat.shape


def test_defaults():
    assert nn.SquaredError().reduction == "sum"
    assert nn.BinaryCrossEntropy().reduction == nn.CrossEntropy().reduction == "mean"


@pytest.mark.parametrize(("kind", "options", "y_hat", "y", "function"), CASES)
def test_the_gradient_has_the_dtype_of_the_predictions(kind, options, y_hat, y, function):
    """Targets and class weights of another precision, or integers, do not widen a float32 network."""
    loss = kind(**options)
    value, gradient = loss.with_grad(y_hat.astype(np.float32), y)
    assert value.dtype == gradient.dtype == np.float32
    assert loss.with_grad(y_hat, y)[1].dtype == np.float64  # and back again
    if y is BITS:
        assert loss.with_grad(y_hat.astype(np.float32), y.astype(bool))[1].dtype == np.float32


def test_gradient_memory_is_used_again():
    loss = nn.CrossEntropy()
    first = loss.with_grad(Z, LABELS)[1]
    address = first.__array_interface__["data"][0]
    assert loss.with_grad(Z[:3], LABELS[:3])[1].__array_interface__["data"][0] == address
    assert loss.with_grad(Z, LABELS)[1].__array_interface__["data"][0] == address


def test_hits():
    z = np.array([[3.0, 1, 2], [1, 3, 2], [1, 2, 3]])
    assert nn.CrossEntropy().hits(z, np.array([0, 1, 1])) == (2, 3)
    assert nn.CrossEntropy(ignore_index=-1).hits(z, np.array([0, -1, 1])) == (1, 2)
    assert nn.CrossEntropy().hits(z, np.eye(3)) == (3, 3)
    assert nn.BinaryCrossEntropy().hits(np.array([0.2, 0.7, 0.9]), np.array([0, 0, 1])) == (2, 3)
    assert nn.BinaryCrossEntropy(from_logits=True).hits(np.array([-2, 0.2, 0.9]), np.array([0, 0, 1])) == (
        2,
        3,
    )
    assert nn.SquaredError().hits(z, z) is None


def test_repr():
    assert repr(nn.SquaredError()) == "SquaredError(reduction='sum')"
    assert (
        repr(nn.BinaryCrossEntropy(from_logits=True))
        == "BinaryCrossEntropy(from_logits=True, reduction='mean')"
    )
    assert repr(nn.CrossEntropy(label_smoothing=0.1)) == "CrossEntropy(label_smoothing=0.1)"


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: nn.SquaredError("median"), ValueError, "reduction: expected one of"),
        (lambda: nn.CrossEntropy(label_smoothing=2), ValueError, "label_smoothing: expected"),
        (lambda: nn.SquaredError()(Z, P[:3]), ValueError, "y: expected the shape of y_hat"),
        (lambda: nn.CrossEntropy().with_grad(Z, LABELS + 4), ValueError, "target: expected class indices"),
        (lambda: nn.CrossEntropy().with_grad(Z, LABELS[:3]), ValueError, "target: expected shape"),
        (lambda: nn.BinaryCrossEntropy().with_grad(Z, BITS), ValueError, "y_hat: expected values in"),
        (lambda: nn.CrossEntropy(WEIGHT[:2])(Z, LABELS), ValueError, "weight: expected shape"),
    ],
)
def test_mistakes(make, error, message):
    with pytest.raises(error, match=message):
        make()
