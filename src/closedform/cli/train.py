"""`closedform train`: a real model on real data, from start to finish."""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import sys
from typing import Any

from closedform import get_backend, get_num_threads, nn, use_backend

DATA = {"digits": "1797 handwritten digits of 8 x 8 pixels, from scikit-learn"}
HIDDEN = 128


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `closedform train`."""
    parser.add_argument(
        "data", choices=DATA, help="; ".join(f"{name}: {what}" for name, what in DATA.items())
    )
    parser.add_argument("--epochs", type=_at_least(0), default=30, help="times over the data (%(default)s)")
    parser.add_argument("--batch-size", type=_at_least(1), default=32, help="samples a step (%(default)s)")
    parser.add_argument("--lr", type=float, default=0.1, help="learning rate (%(default)s)")
    parser.add_argument("--seed", type=_at_least(0), default=0, help="of split, weights, order (%(default)s)")
    parser.add_argument(
        "--backend",
        choices=("compiled", "reference"),
        help="compiled kernels (default) or their NumPy twins",
    )
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float32", help="(%(default)s)")
    parser.add_argument("--save", metavar="PATH", help="write the trained model there (safetensors)")
    parser.add_argument("--json", action="store_true", help="print the result as JSON, nothing else")


def run(args: argparse.Namespace) -> int:
    """Train, report, and return the exit status: 0, 1 if --save failed, 2 if a package is missing."""
    needed = ["sklearn", *(["safetensors"] if args.save else [])]
    if missing := [name for name in needed if importlib.util.find_spec(name) is None]:
        names = ", ".join("scikit-learn" if name == "sklearn" else name for name in missing)
        print(f'closedform train needs {names}: pip install "closedform[train]"', file=sys.stderr)
        return 2
    with use_backend(args.backend) if args.backend else contextlib.nullcontext():
        report, model = train_digits(args, quiet=args.json)
    if args.save:
        try:
            nn.save(model, args.save)
        except OSError as e:
            print(f"closedform train: --save: {e}", file=sys.stderr)
            return 1
        report["saved"] = args.save
    print(json.dumps(report) if args.json else _summary(report))
    return 0


def train_digits(args: argparse.Namespace, *, quiet: bool) -> tuple[dict[str, Any], nn.Sequential]:
    """Train an MLP on three quarters of the digits; test it on the rest, which it never saw."""
    x, y, x_test, y_test = load_digits(args.seed)
    layers = nn.Dense(64, HIDDEN, dtype=args.dtype), nn.ReLU(), nn.Dense(HIDDEN, 10, dtype=args.dtype)
    model = nn.Sequential(*layers, seed=args.seed)
    loss = nn.CrossEntropy()
    if not quiet:
        print(f"{DATA['digits']}: {len(x)} to train on, {len(x_test)} to test")
        print(f"{model!r}\nbackend {get_backend()}, {get_num_threads()} threads")
    history = nn.fit(
        model,
        x,
        y,
        loss=loss,
        optimizer=nn.SGD(lr=args.lr, momentum=0.9),
        epochs=args.epochs,
        batch_size=args.batch_size,
        validation=(x_test, y_test),
        callbacks=() if quiet else (_print_epoch,),
        progress=not quiet and sys.stderr.isatty() and importlib.util.find_spec("tqdm") is not None,
        seed=args.seed,
    )
    _, accuracy = nn.evaluate(model, loss, x_test, y_test)
    report = {
        "data": "digits",
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
    return report, model


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
    line = f"epoch {epoch + 1:3}  {history.line()}"
    if sys.stderr.isatty() and importlib.util.find_spec("tqdm") is not None:
        from tqdm.auto import tqdm

        tqdm.write(line)  # above the bar
    else:
        print(line, flush=True)


def _summary(report: dict[str, Any]) -> str:
    saved = f"\nsaved to {report['saved']}" if "saved" in report else ""
    stopped = f" ({report['stopped']})" if report["stopped"] else ""
    epochs = f"{report['history'].n_epochs} epochs{stopped}"
    return (
        f"test accuracy {report['test_accuracy']:.2%} after {epochs}, "
        f"{report['seconds']:.2f} s, {report['n_parameters']:,} parameters{saved}"
    )


def _at_least(low: int) -> Any:
    def parse(text: str) -> int:
        if (value := int(text)) < low:
            raise argparse.ArgumentTypeError(f"expected an integer >= {low}; got {value}")
        return value

    parse.__name__ = "integer"  # argparse names it in its message
    return parse
