"""`closedform train digits`: real images, on the kernels and on the twins."""

import argparse
import importlib.util
import json

import numpy as np
import pytest

from closedform import nn
from closedform.cli import train

pytest.importorskip("sklearn")


def arguments(*options: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    train.add_arguments(parser)
    return parser.parse_args(["digits", *options])


def test_97_percent_on_both_backends_with_one_loss_curve(capsys):
    reports = {}
    for backend in ("compiled", "reference"):
        assert train.run(arguments("--json", "--backend", backend)) == 0
        reports[backend] = json.loads(capsys.readouterr().out)
        assert reports[backend]["backend"] == backend
        assert reports[backend]["test_accuracy"] >= 0.97
    eps = np.finfo(np.float32).eps  # per step of some 1300, rounding differs by a few eps
    for curve in ("loss", "val_loss"):
        ours, twin = (reports[backend]["history"][curve] for backend in ("compiled", "reference"))
        np.testing.assert_allclose(ours, twin, rtol=1000 * eps)


def test_report_and_saved_model(capsys, tmp_path):
    path = tmp_path / "digits.safetensors"
    assert train.run(arguments("--epochs", "2", "--save", str(path), "--seed", "3")) == 0
    shown = capsys.readouterr().out
    assert "1347 to train on, 450 to test" in shown
    assert "epoch   2  loss" in shown
    assert "9,610 parameters" in shown
    _, _, x, y = train.load_digits(3)
    _, accuracy = nn.evaluate(nn.load(path), nn.CrossEntropy(), x, y)
    assert f"test accuracy {accuracy:.2%} after 2 epochs" in shown


def test_the_same_seed_gives_the_same_model(capsys):
    reports = []
    for seed in ("1", "1", "2"):
        train.run(arguments("--json", "--epochs", "1", "--seed", seed))
        reports.append(json.loads(capsys.readouterr().out)["history"]["loss"])
    assert reports[0] == reports[1] != reports[2]


def test_split():
    x, y, x_test, y_test = train.load_digits(0)
    assert (x.shape, x_test.shape, x.dtype) == ((1347, 64), (450, 64), np.float32)
    assert x.min() == 0
    assert x.max() == 1
    assert np.ptp(np.bincount(y_test) / np.bincount(y)) < 0.02  # a quarter of every digit


def test_missing_packages(capsys, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "sklearn" else find(name))
    assert train.run(arguments()) == 2
    shown = capsys.readouterr().err
    assert shown == 'closedform train needs scikit-learn: pip install "closedform[train]"\n'


def test_a_path_that_cannot_be_written(capsys, tmp_path):
    assert train.run(arguments("--epochs", "0", "--save", str(tmp_path / "none" / "m"))) == 1
    assert "closedform train: --save: " in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--epochs=-1", "--batch-size=0", "--seed=x", "--backend=gpu"])
def test_bad_options(option, capsys):
    with pytest.raises(SystemExit) as stopped:
        arguments(option)
    assert stopped.value.code == 2
    assert "error: argument" in capsys.readouterr().err
