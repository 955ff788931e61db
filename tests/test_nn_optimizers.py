"""Optimisers: against the formulas by hand, and against PyTorch where it is installed."""

import numpy as np
import pytest

import closedform as cf
from closedform import nn

BACKENDS = ("compiled", "reference")
MAKE = {
    "sgd": lambda: nn.SGD(0.1),
    "sgd decay": lambda: nn.SGD(0.1, weight_decay=0.05),
    "momentum": lambda: nn.SGD(0.1, 0.9, weight_decay=0.05),
    "nesterov": lambda: nn.SGD(0.1, 0.9, nesterov=True),
    "adam": lambda: nn.Adam(0.01),
    "adam decay": lambda: nn.Adam(0.01, (0.8, 0.95), 1e-6, weight_decay=0.05),
    "adamw": lambda: nn.AdamW(0.01, weight_decay=0.05),
}


def by_hand(name: str, p: np.ndarray, gradients: list[np.ndarray]) -> np.ndarray:
    """The textbook, one step a gradient."""
    p, v, m, s = p.copy(), np.zeros_like(p), np.zeros_like(p), np.zeros_like(p)
    for t, g in enumerate(gradients, start=1):
        if name.startswith("adam"):
            b1, b2, eps = (0.8, 0.95, 1e-6) if name == "adam decay" else (0.9, 0.999, 1e-8)
            if name == "adamw":
                p = p - 0.01 * 0.05 * p
            if name == "adam decay":
                g = g + 0.05 * p
            m, s = b1 * m + (1 - b1) * g, b2 * s + (1 - b2) * g**2
            p = p - 0.01 * (m / (1 - b1**t)) / (np.sqrt(s / (1 - b2**t)) + eps)
            continue
        g = g + 0.05 * p if name in ("sgd decay", "momentum") else g
        v = 0.9 * v + g if name in ("momentum", "nesterov") else g
        p = p - 0.1 * (g + 0.9 * v if name == "nesterov" else v)
    return p


def gradients_of(shape, n=4) -> list[np.ndarray]:
    return [np.random.default_rng(i).standard_normal(shape) for i in range(n)]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", MAKE)
def test_against_the_formulas(name, backend):
    model = nn.Sequential(
        nn.Dense(5, 3, dtype="float64"), nn.Tanh(), nn.Dense(3, 2, bias=False, dtype="float64")
    )
    before = {key: p.copy() for key, p in model.parameters().items()}
    gradients = {key: gradients_of(p.shape) for key, p in before.items()}
    optimizer = MAKE[name]()
    with cf.use_backend(backend):
        for t in range(4):
            for key, g in model.gradients().items():
                g[...] = gradients[key][t]
            optimizer.step(model)
    assert optimizer.n_steps == 4
    for key, p in model.parameters().items():
        np.testing.assert_allclose(p, by_hand(name, before[key], gradients[key]), rtol=1e-12, atol=1e-13)
        np.testing.assert_array_equal(model.gradients()[key], gradients[key][-1])  # left alone


@pytest.mark.parametrize("name", MAKE)
def test_against_torch(name):
    torch = pytest.importorskip("torch")
    model = nn.Sequential(
        nn.Dense(4, 3, dtype="float64", seed=0), nn.ReLU(), nn.Dense(3, 2, dtype="float64", seed=1)
    )
    parameters = [torch.tensor(p, requires_grad=True) for p in model.parameters().values()]
    theirs = {
        "sgd": lambda p: torch.optim.SGD(p, 0.1),
        "sgd decay": lambda p: torch.optim.SGD(p, 0.1, weight_decay=0.05),
        "momentum": lambda p: torch.optim.SGD(p, 0.1, 0.9, weight_decay=0.05),
        "nesterov": lambda p: torch.optim.SGD(p, 0.1, 0.9, nesterov=True),
        "adam": lambda p: torch.optim.Adam(p, 0.01),
        "adam decay": lambda p: torch.optim.Adam(p, 0.01, (0.8, 0.95), 1e-6, weight_decay=0.05),
        "adamw": lambda p: torch.optim.AdamW(p, 0.01, weight_decay=0.05),
    }[name](parameters)
    optimizer, loss = MAKE[name](), nn.CrossEntropy()
    rng = np.random.default_rng(0)
    for _ in range(5):
        x, y = rng.standard_normal((6, 4)), rng.integers(0, 2, 6)
        ours = nn.train_step(model, loss, optimizer, x, y)
        w1, b1, w2, b2 = parameters
        value = torch.nn.functional.cross_entropy(
            torch.relu(torch.tensor(x) @ w1 + b1) @ w2 + b2, torch.tensor(y)
        )
        theirs.zero_grad()
        value.backward()
        theirs.step()
        assert ours == pytest.approx(value.item(), rel=1e-12)
    for p, q in zip(model.parameters().values(), parameters, strict=True):
        np.testing.assert_allclose(p, q.detach().numpy(), rtol=1e-10, atol=1e-12)


def train(model, optimizer, steps):
    for i in steps:
        x = np.random.default_rng(i).standard_normal((8, 4)).astype(np.float32)
        nn.train_step(model, nn.SquaredError(), optimizer, x, x[:, :2])


@pytest.mark.parametrize("name", MAKE)
def test_state_can_be_saved_and_continued(name):
    straight, model = nn.Dense(4, 2, seed=0), nn.Dense(4, 2, seed=0)
    train(straight, MAKE[name](), range(6))

    optimizer = MAKE[name]()
    train(model, optimizer, range(3))
    state = optimizer.state_dict()
    resumed = MAKE[name]()
    resumed.load_state_dict(state)
    for values in state.values():  # the state that was handed out is a copy, and was copied
        for array in values.values() if isinstance(values, dict) else ():
            array.fill(np.nan)
    train(model, resumed, range(3, 6))
    for p, q in zip(model.parameters().values(), straight.parameters().values(), strict=True):
        np.testing.assert_array_equal(p, q)
    with pytest.raises(ValueError, match="state: expected the entries"):
        nn.SGD(0.1, 0.5, nesterov=True).load_state_dict({"lr": 0.1, "n_steps": 1, "m": {}, "v": {}})


def test_lr_may_change_between_steps():
    model = nn.Dense(2, 2, seed=0, dtype="float64")
    before, optimizer = model.w.copy(), nn.SGD(0.1)
    model.dw[...] = 1
    optimizer.step(model)
    optimizer.lr = 0.5
    optimizer.step(model)
    np.testing.assert_allclose(model.w, before - 0.6, rtol=1e-14)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_clip_grad_norm(dtype):
    model = nn.Sequential(nn.Dense(3, 4, dtype=dtype), nn.Dense(4, 2, dtype=dtype))
    for i, g in enumerate(model.gradients().values()):
        g[...] = np.random.default_rng(i).standard_normal(g.shape)
    before = [g.copy() for g in model.gradients().values()]
    norm = np.sqrt(sum((g.astype(np.float64) ** 2).sum() for g in before))
    assert nn.clip_grad_norm(model, 100) == pytest.approx(norm, rel=1e-14)
    for g, old in zip(model.gradients().values(), before, strict=True):
        np.testing.assert_array_equal(g, old)
    assert nn.clip_grad_norm(model, 0.5) == pytest.approx(norm, rel=1e-14)
    assert nn.clip_grad_norm(model, 100) == pytest.approx(0.5, rel=1e-6)
    for g, old in zip(model.gradients().values(), before, strict=True):
        np.testing.assert_allclose(g, old * (0.5 / norm), rtol=1e-6)


def test_clip_grad_norm_that_is_not_finite():
    model = nn.Dense(3, 4)
    model.dw[...] = 1e30  # squares overflow float32, not the sum in float64
    assert nn.clip_grad_norm(model, 1) == pytest.approx(np.sqrt(12) * 1e30, rel=1e-6)
    model.dw[...] = 2
    model.dw[0, 0] = np.inf
    assert nn.clip_grad_norm(model, 1) == np.inf
    assert model.dw[1, 1] == 2
    model.dw[0, 0] = np.nan
    assert np.isnan(nn.clip_grad_norm(model, 1))
    assert model.dw[1, 1] == 2


def test_repr():
    assert repr(nn.SGD(0.1, 0.9)) == "SGD(lr=0.1, momentum=0.9, nesterov=False, weight_decay=0)"
    assert repr(nn.AdamW()) == "AdamW(lr=0.001, betas=(0.9, 0.999), eps=1e-08, weight_decay=0.01)"


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: nn.SGD(-1), ValueError, "lr: expected"),
        (lambda: nn.SGD("fast"), TypeError, "lr: expected a number"),
        (lambda: nn.SGD(0.1, nesterov=True), ValueError, "nesterov: expected False, since momentum is 0"),
        (lambda: nn.SGD(0.1, weight_decay=-1), ValueError, "weight_decay: expected"),
        (lambda: nn.Adam(0.1, (0.9, 1.0)), ValueError, "betas: expected two numbers"),
        (lambda: nn.Adam(0.1, (0.9,)), ValueError, "betas: expected two numbers"),
        (lambda: nn.Adam(0.1, eps=-1), ValueError, "eps: expected"),
        (lambda: nn.clip_grad_norm(nn.Dense(2, 2), 0), ValueError, "max_norm: expected"),
    ],
)
def test_mistakes(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_an_optimizer_belongs_to_one_model():
    optimizer = nn.Adam()
    optimizer.step(nn.Dense(3, 2))
    with pytest.raises(ValueError, match=r"m: expected"):
        optimizer.step(nn.Dense(4, 2))
