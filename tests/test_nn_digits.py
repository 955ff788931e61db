"""`closedform train digits`: real images, on the kernels and on the twins."""

import argparse
import importlib.util
import json
import re

import numpy as np
import pytest

from closedform import nn
from closedform.cli import train
from closedform.cli.train import digits

pytest.importorskip("sklearn")
threadpoolctl = pytest.importorskip("threadpoolctl")  # scikit-learn brings it


@pytest.fixture(autouse=True)
def _one_thread_of_blas():
    """The twins' products are small. On a busy machine threads of BLAS wait for each other, for seconds a product."""
    with threadpoolctl.threadpool_limits(1):
        yield


def arguments(*options: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    train.add_arguments(parser)
    return parser.parse_args(["digits", *options])


def run_on_both_backends(capsys, *options: str) -> list[dict]:
    reports = []
    for backend in ("compiled", "reference"):
        assert train.run(arguments("--json", "--backend", backend, *options)) == 0
        reports.append(json.loads(capsys.readouterr().out))
        assert reports[-1]["backend"] == backend
    return reports


def test_97_percent_on_both_backends(capsys):
    for report in run_on_both_backends(capsys):
        assert report["test_accuracy"] >= 0.97


def test_one_loss_curve_on_both_backends(capsys):
    # In float32 a difference in rounding can turn a unit of the ReLU on or off, and the curves part visibly some
    # 20 epochs later, as they should. In float64 that does not happen in 1300 steps, and they agree to 15 eps.
    ours, twin = run_on_both_backends(capsys, "--dtype", "float64")
    for curve in ("loss", "val_loss"):
        rtol = 1000 * np.finfo(np.float64).eps
        np.testing.assert_allclose(ours["history"][curve], twin["history"][curve], rtol=rtol)


def test_a_convolutional_network_reaches_98_5_percent(capsys):
    assert train.run(arguments("--json", "--model", "cnn", "--no-compare")) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["test_accuracy"] >= 0.985
    assert report["seconds"] < 20
    assert "seconds_per_epoch" not in report


def test_one_loss_curve_of_a_convolutional_network_on_both_backends(capsys):
    options = "--model", "cnn", "--epochs", "1", "--batch-size", "128", "--dtype", "float64"
    ours, twin = run_on_both_backends(capsys, *options, "--no-compare")
    for curve in ("loss", "val_loss"):
        rtol = 1000 * np.finfo(np.float64).eps
        np.testing.assert_allclose(ours["history"][curve], twin["history"][curve], rtol=rtol)


def test_epochs_are_compared_with_those_of_the_other_backend(capsys):
    for report in run_on_both_backends(capsys, "--epochs", "3"):
        seconds = report["seconds_per_epoch"]
        assert list(seconds) == [report["backend"], *({"compiled", "reference"} - {report["backend"]})]
        assert seconds[report["backend"]] == sorted(report["history"]["seconds"])[1]
    assert train.run(arguments("--epochs", "1")) == 0
    assert re.search(
        r"\nepoch: [\d.e-]+ s compiled, [\d.e-]+ s on the NumPy twins \([\d.]+x\)\n", capsys.readouterr().out
    )
    assert train.run(arguments("--epochs", "0")) == 0
    assert "epoch:" not in capsys.readouterr().out


def test_report_and_saved_model(capsys, tmp_path):
    path = tmp_path / "digits.safetensors"
    assert train.run(arguments("--epochs", "2", "--save", str(path), "--seed", "3")) == 0
    shown = capsys.readouterr().out
    assert "1347 to train on, 450 to test" in shown
    assert "epoch   2  loss" in shown
    assert "9,610 parameters" in shown
    _, _, x, y = digits.load_digits(3)
    _, accuracy = nn.evaluate(nn.load(path), nn.CrossEntropy(), x, y)
    assert f"test accuracy {accuracy:.2%} after 2 epochs" in shown


def test_the_same_seed_gives_the_same_model(capsys):
    reports = []
    for seed in ("1", "1", "2"):
        train.run(arguments("--json", "--epochs", "1", "--seed", seed))
        reports.append(json.loads(capsys.readouterr().out)["history"]["loss"])
    assert reports[0] == reports[1] != reports[2]


def test_split():
    x, y, x_test, y_test = digits.load_digits(0)
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


@pytest.mark.parametrize("path", ["none/m", "."])
def test_a_path_that_cannot_be_written_is_refused_before_training(path, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(digits, "train_digits", lambda *args, **options: pytest.fail("trained"))
    assert train.run(arguments("--save", str(tmp_path / path))) == 1
    assert re.match(r"closedform train: --save: .*director", capsys.readouterr().err)


@pytest.mark.filterwarnings("ignore:the loss of epoch")
def test_json_of_a_training_that_diverges(capsys):
    assert train.run(arguments("--json", "--no-compare", "--epochs", "2", "--lr", "1e30")) == 0
    report = json.loads(capsys.readouterr().out, parse_constant=lambda name: pytest.fail(name))
    assert report["history"]["loss"][-1] is None


@pytest.mark.parametrize(
    "option",
    [
        "--epochs=-1",
        "--batch-size=0",
        "--seed=x",
        "--seed=99999999999",
        "--lr=nan",
        "--lr=-1",
        "--lr=inf",
        "--backend=gpu",
        "--model=rnn",
    ],
)
def test_bad_options(option, capsys):
    with pytest.raises(SystemExit) as stopped:
        arguments(option)
    assert stopped.value.code == 2
    assert "error: argument" in capsys.readouterr().err
