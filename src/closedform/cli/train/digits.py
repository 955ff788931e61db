"""`closedform train digits`: images, by a dense or a convolutional network."""

from __future__ import annotations

import argparse
import contextlib
import statistics
from collections.abc import Callable
from typing import Any, NamedTuple

from closedform import get_backend, get_num_threads, nn, use_backend

from .. import print_json
from .options import (
    add_common,
    at_least,
    missing_packages,
    positive,
    saved,
    say,
    shows_bar,
    writable,
)

SUMMARY = "1797 handwritten digits of 8 x 8 pixels, from scikit-learn"
DESCRIPTION = "Train a network on three quarters of the handwritten digits, and test it on the others."


class Recipe(NamedTuple):
    """A model for 8 x 8 images of 10 classes, and how it is trained if the options do not say otherwise."""

    layers: Callable[[str], list[nn.Layer]]  # of a dtype
    image: tuple[int, ...]  # the shape that the first layer expects of an image
    optimizer: Callable[[float], nn.Optimizer]  # of a learning rate
    lr: float
    epochs: int


def _mlp(dtype: str) -> list[nn.Layer]:
    return [nn.Dense(64, 128, dtype=dtype), nn.ReLU(), nn.Dense(128, 10, dtype=dtype)]


def _cnn(dtype: str) -> list[nn.Layer]:
    def block(C: int, K: int) -> list[nn.Layer]:
        convolution = nn.Conv2d(C, K, 3, padding="same", bias=False, dtype=dtype)  # BatchNorm has a bias
        return [convolution, nn.BatchNorm(K, dtype=dtype), nn.ReLU()]

    pooled = [*block(1, 16), *block(16, 32), nn.MaxPool2d(2), *block(32, 64), nn.MaxPool2d(2)]
    return [*pooled, nn.Flatten(), nn.Dropout(0.5), nn.Dense(2 * 2 * 64, 10, dtype=dtype)]


MODELS = {
    "mlp": Recipe(_mlp, (64,), lambda lr: nn.SGD(lr=lr, momentum=0.9), lr=0.1, epochs=30),
    "cnn": Recipe(_cnn, (8, 8, 1), lambda lr: nn.AdamW(lr=lr), lr=3e-3, epochs=12),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `closedform train digits`."""
    parser.add_argument("--model", choices=MODELS, default="mlp", help="dense or convolutional (%(default)s)")
    parser.add_argument("--epochs", type=at_least(0), help=f"times over the data ({_defaults('epochs')})")
    parser.add_argument("--batch-size", type=at_least(1), default=32, help="samples a step (%(default)s)")
    parser.add_argument("--lr", type=positive, help=f"learning rate ({_defaults('lr')})")
    parser.add_argument(
        "--seed", type=at_least(0, 2**32 - 1), default=0, help="of split, weights, order (%(default)s)"
    )
    parser.add_argument(
        "--no-compare", action="store_true", help="do not time an epoch on the other backend as well"
    )
    add_common(parser)


def run(args: argparse.Namespace) -> int:
    """Train, report, and return the exit status: 0, 1 if --save failed, 2 if a package is missing."""
    if missing_packages("sklearn", *(["safetensors"] if args.save else [])):
        return 2
    if args.save and not writable(args.save):  # before training, not after it
        return 1
    with use_backend(args.backend) if args.backend else contextlib.nullcontext():
        report, model = train_digits(args, quiet=args.json)
    if args.save:
        if not saved(model, args.save):
            return 1
        report["saved"] = args.save
    if args.json:
        print_json(report)
    else:
        print(_summary(report))
    return 0


def train_digits(args: argparse.Namespace, *, quiet: bool) -> tuple[dict[str, Any], nn.Sequential]:
    """Train a model on three quarters of the digits; test it on the rest, which it never saw."""
    recipe = MODELS[args.model]
    x, y, x_test, y_test = load_digits(args.seed)
    x, x_test = (images.reshape(-1, *recipe.image) for images in (x, x_test))
    data = x, y, x_test, y_test
    model = nn.Sequential(recipe.layers(args.dtype), seed=args.seed)
    if not quiet:
        print(f"{SUMMARY}: {len(x)} to train on, {len(x_test)} to test")
        print(f"{model!r}\nbackend {get_backend()}, {get_num_threads()} threads")
    epochs = recipe.epochs if args.epochs is None else args.epochs
    history = _fit(model, data, args, epochs, quiet=quiet)
    _, accuracy = nn.evaluate(model, nn.CrossEntropy(), x_test, y_test)
    report = {
        "data": "digits",
        "model": args.model,
        "backend": get_backend(),
        "dtype": args.dtype,
        "threads": get_num_threads(),
        "n_parameters": model.n_parameters,
        "n_train": len(x),
        "n_test": len(x_test),
        "test_accuracy": accuracy,
        "seconds": sum(history.get("seconds", ())),
        "history": history,
        "stopped": history.stopped,
    }
    if history.n_epochs and not history.stopped and not args.no_compare:
        report |= _comparison(history, data, args)
    return report, model


def _fit(model: nn.Layer, data: Any, args: argparse.Namespace, epochs: int, *, quiet: bool) -> nn.History:
    recipe = MODELS[args.model]
    x, y, x_test, y_test = data
    return nn.fit(
        model,
        x,
        y,
        loss=nn.CrossEntropy(),
        optimizer=recipe.optimizer(recipe.lr if args.lr is None else args.lr),
        epochs=epochs,
        batch_size=args.batch_size,
        validation=(x_test, y_test),
        callbacks=() if quiet else (_print_epoch,),
        progress=not quiet and shows_bar(),
        seed=args.seed,
    )


def _comparison(history: nn.History, data: Any, args: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Seconds per epoch: the median of those just trained, and one of a new model on the other backend."""
    here = get_backend()
    other = "reference" if here == "compiled" else "compiled"
    model = nn.Sequential(MODELS[args.model].layers(args.dtype), seed=args.seed)
    with use_backend(other):
        once = _fit(model, data, args, 1, quiet=True)
    if not once.n_epochs:  # interrupted
        return {}
    return {"seconds_per_epoch": {here: statistics.median(history.seconds), other: once.seconds[0]}}


def load_digits(seed: int) -> tuple[Any, Any, Any, Any]:
    """x, y, x_test, y_test: pixels in [0, 1], a quarter of every digit held out for the test."""
    from sklearn import datasets, model_selection

    digits = datasets.load_digits()
    x, x_test, y, y_test = model_selection.train_test_split(
        digits.data.astype("float32") / 16,  # grey levels are 0 to 16
        digits.target,
        test_size=0.25,
        stratify=digits.target,
        random_state=seed,
    )
    return x, y, x_test, y_test


def _print_epoch(epoch: int, history: nn.History, model: nn.Layer) -> None:
    say(f"epoch {epoch + 1:3}  {history.line()}")


def _summary(report: dict[str, Any]) -> str:
    saved = f"\nsaved to {report['saved']}" if "saved" in report else ""
    stopped = f" ({report['stopped']})" if report["stopped"] else ""
    epochs = f"{report['history'].n_epochs} epochs{stopped}"
    compared = ""
    if "seconds_per_epoch" in report:
        ours, twins = (report["seconds_per_epoch"][backend] for backend in ("compiled", "reference"))
        ratio = twins / ours
        compared = (
            f"\nepoch: {ours:.2g} s compiled, {twins:.2g} s on the NumPy twins "
            f"({ratio:.{1 if ratio < 10 else 0}f}x)"
        )
    return (
        f"test accuracy {report['test_accuracy']:.2%} after {epochs}, "
        f"{report['seconds']:.2f} s, {report['n_parameters']:,} parameters{compared}{saved}"
    )


def _defaults(option: str) -> str:
    return ", ".join(f"{name} {getattr(recipe, option):g}" for name, recipe in MODELS.items())
