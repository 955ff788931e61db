"""`closedform train text`: an LSTM that predicts the next character, on real English text."""

from __future__ import annotations

import argparse
import contextlib
import sys
from typing import Any

from closedform import get_backend, get_num_threads, use_backend

from .. import print_json
from ..characters import Size, network
from . import corpus
from .language import Trainer, bits_per_character, generate
from .options import add_common, at_least, missing_packages, positive, saved, share, writable

SUMMARY = "the language reference of Python, from its own help(), character by character"
DESCRIPTION = (
    "Train an LSTM to predict the next character of the text behind Python's help(), and let it write some."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `closedform train text`."""
    add = parser.add_argument
    add("--minutes", type=positive, help="how long to train (5, unless --epochs is given)")
    add("--epochs", type=at_least(0), help="times over the text; the result then is the same every time")
    add("--hidden", type=at_least(1), default=256, help="units of a layer (%(default)s)")
    add("--layers", type=at_least(1), default=1, help="(%(default)s)")
    add("--embedding", type=at_least(1), default=64, help="numbers a character is given by (%(default)s)")
    add(
        "--batch-size",
        type=at_least(1),
        default=32,
        help="stretches of the text read in parallel (%(default)s)",
    )
    add("--steps", type=at_least(1), default=64, help="characters between two updates (%(default)s)")
    add("--dropout", type=share, default=0.4, help="after each layer (%(default)s)")
    add(
        "--lr",
        type=positive,
        default=4e-3,
        help="learning rate at the start; it falls to a tenth (%(default)s)",
    )
    add("--clip", type=positive, default=1.0, help="largest norm of the gradients (%(default)s)")
    add("--seed", type=at_least(0), default=0, help="of weights, dropout and samples (%(default)s)")
    add("--sample", type=at_least(0), default=400, metavar="N", help="characters to write (%(default)s)")
    add("--prompt", default="The ", help="what the sample begins with (%(default)r)")
    add("--temperature", type=positive, default=0.6, help="below 1 the likely is likelier (%(default)s)")
    add("--compare", action="store_true", help="characters per second beside the NumPy twins and PyTorch")
    add_common(parser)


def run(args: argparse.Namespace) -> int:
    """Train, report, and return the exit status: 0, 1 if --save failed, 2 if a package is missing."""
    if missing_packages(*(["safetensors"] if args.save else [])):
        return 2
    if args.save and not writable(args.save):  # before training, not after it
        return 1
    try:
        data = corpus.load()
    except ImportError:
        print("closedform train text needs pydoc_data, which this Python comes without", file=sys.stderr)
        return 2
    try:
        data.encode(args.prompt)
    except ValueError as e:
        args.parser.error(f"argument --prompt: {e}")
    if len(data.train) < 2 * args.batch_size:
        args.parser.error(
            f"argument --batch-size: expected at most {len(data.train) // 2}; got {args.batch_size}"
        )
    with use_backend(args.backend) if args.backend else contextlib.nullcontext():
        report, model = train_text(args, data)
    if args.save:
        if not saved(model, args.save):
            return 1
        report["saved"] = args.save
    if args.json:
        print_json(report)
    else:
        print(summary(report))
    return 0


def train_text(args: argparse.Namespace, data: corpus.Corpus) -> tuple[dict[str, Any], Any]:
    """Train on all but the end of the text, measure there, sample."""
    size = Size(len(data.vocabulary), args.embedding, args.hidden, args.layers, args.batch_size, args.steps)
    model = network(size, args.dtype, dropout=args.dropout, seed=args.seed)
    if not args.json:
        print(f"{SUMMARY}: {len(data.train):,} characters to train on, {len(data.held_out):,} held out")
        print(f"{model!r}\nbackend {get_backend()}, {get_num_threads()} threads")
    trainer = Trainer(model, data, args)
    trainer.run()
    report = {
        "data": "text",
        "backend": get_backend(),
        "dtype": args.dtype,
        "threads": get_num_threads(),
        "n_parameters": model.n_parameters,
        "n_train": len(data.train),
        "n_held_out": len(data.held_out),
        "vocabulary": data.vocabulary,
        "bits_per_character": bits_per_character(model, data.held_out),
        "epochs": trainer.epochs,
        "seconds": trainer.seconds,
        "characters_per_second": trainer.characters_per_second,
        "history": trainer.history,
        "stopped": trainer.stopped,
        "sample": generate(model, data, args.sample, args.prompt, args.temperature, args.seed),
    }
    if args.compare:
        from .speed import characters_per_second

        report["compared"] = characters_per_second(size)
    return report, model


def summary(report: dict[str, Any]) -> str:
    lines = [f"\n{report['sample']}\n"] if report["sample"] else []
    stopped = f" ({report['stopped']})" if report["stopped"] else ""
    lines.append(
        f"{report['bits_per_character']:.3f} bits per character on held-out text after {report['epochs']:.1f} "
        f"epochs{stopped}, {report['seconds']:.1f} s, {report['n_parameters']:,} parameters"
    )
    if "compared" in report:
        names = {"closedform": "closedform", "twin": "its NumPy twins", "torch": "PyTorch"}
        speeds = (f"{speed:,.0f} {names[name]}" for name, speed in report["compared"].items())
        lines.append(f"characters a second in training: {', '.join(speeds)}")
    lines += [f"saved to {report['saved']}"] if "saved" in report else []
    return "\n".join(lines)
