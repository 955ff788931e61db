"""`closedform train text`: the corpus, a run from start to finish, Ctrl-C, and other libraries."""

import argparse
import importlib.util
import json
import math
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import closedform as cf
from closedform import nn
from closedform.cli import characters, train
from closedform.cli.bench import steps
from closedform.cli.bench import text as bench_text
from closedform.cli.bench.cases import Case, choose
from closedform.cli.bench.libraries import prepare
from closedform.cli.train import corpus, language, speed

BACKENDS = ("compiled", "reference")
SMALL = ("--hidden", "16", "--embedding", "8", "--batch-size", "32", "--steps", "16", "--sample", "30")
TINY = characters.Size(vocabulary=7, embedding=3, hidden=5, layers=2, rows=4, steps=6)


@pytest.fixture
def short(monkeypatch):
    """The first 4000 characters, as a corpus of their own."""
    ids = corpus.load().train[:4000]
    used = sorted(set(ids))
    whole = corpus.load().vocabulary
    ids = np.searchsorted(used, ids)
    data = corpus.Corpus(ids[:3500], ids[3500:], "".join(whole[i] for i in used))
    monkeypatch.setattr(corpus, "load", lambda: data)
    return data


def arguments(*options: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    train.add_arguments(parser)
    return parser.parse_args(["text", *SMALL, *options])


def report(capsys, *options: str) -> dict:
    assert train.run(arguments("--json", *options)) == 0
    return json.loads(capsys.readouterr().out)


# -- the text --


def test_the_text_is_real_and_held_out():
    data = corpus.load()
    learned, held_out = data.decode(data.train), data.decode(data.held_out)
    assert "The " in learned
    assert len(held_out) == pytest.approx(0.1 * len(learned + held_out), rel=0.01)
    paragraphs = learned.split("\n\n")[:-1]
    assert len(paragraphs) == len(set(paragraphs)) > 1000
    assert not set(paragraphs) & set(held_out.split("\n\n")[1:])
    np.testing.assert_array_equal(data.encode(learned[:100]), data.train[:100])
    with pytest.raises(ValueError, match="does not have: '☃'"):
        data.encode("a ☃")


def test_stretches_side_by_side():
    rows = corpus.in_rows(np.arange(11), 3)
    np.testing.assert_array_equal(rows, [[0, 3, 6], [1, 4, 7], [2, 5, 8]])


# -- training --


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_short_run(backend, short, capsys):
    found = report(
        capsys, "--backend", backend, "--epochs", "4", "--lr", "0.02", "--layers", "2", "--dropout", "0.1"
    )
    assert found["backend"] == backend
    assert len(found["history"]) == 4
    assert found["epochs"] == 4.0
    bits = [epoch["bits"] for epoch in found["history"]]
    assert bits == sorted(bits, reverse=True)
    assert found["bits_per_character"] < 4.5 < math.log2(len(short.vocabulary))
    assert found["bits_per_character"] == found["history"][-1]["held_out_bits"]
    assert found["sample"].startswith("The ")
    assert len(found["sample"]) == len("The ") + 30
    assert found["characters_per_second"] > 0
    assert found["stopped"] == ""


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_same_seed_gives_the_same_bits(backend, short, capsys):
    runs = [report(capsys, "--backend", backend, "--epochs", "1", "--seed", seed) for seed in ("1", "1", "2")]
    found = [(run["history"][0]["bits"], run["bits_per_character"], run["sample"]) for run in runs]
    assert found[0] == found[1]
    assert found[0][0] != found[2][0]


def test_every_character_is_read_once_an_epoch(short, monkeypatch):
    """Also where the cuts fall elsewhere: the targets of a step begin where those before ended."""
    args = arguments("--epochs", "3")
    model = characters.network(TINY._replace(vocabulary=len(short.vocabulary)), "float32")
    trainer = language.Trainer(model, short, args)
    seen, resets = [], []
    monkeypatch.setattr(trainer, "_step", lambda x, y: seen.append((x, y)) or 0.0)
    monkeypatch.setattr(language, "bits_per_character", lambda *_: 0.0)
    monkeypatch.setattr(model, "reset_carried", lambda: resets.append(len(seen)))
    trainer.run()
    n = len(seen) // 3
    starts = [resets[i] for i in range(3)]
    for i, start in enumerate(starts):
        pieces = seen[start : starts[i + 1] if i < 2 else None]
        np.testing.assert_array_equal(np.concatenate([x for x, _ in pieces]), trainer.rows[:-1])
        np.testing.assert_array_equal(np.concatenate([y for _, y in pieces]), trainer.rows[1:])
    assert len({len(seen[start][0]) for start in starts}) > 1
    assert n > 3


def test_bits_of_a_model_that_knows_nothing(short):
    model = characters.network(TINY._replace(vocabulary=len(short.vocabulary)), "float64")
    for p in model[2].parameters().values():
        p[...] = 0
    with cf.use_backend("reference"):
        bits = language.bits_per_character(model, short.held_out)
    assert bits == pytest.approx(math.log2(len(short.vocabulary)), rel=1e-12)


def test_time_is_up(short, capsys):
    found = report(capsys, "--backend", "reference", "--minutes", "0.01", "--sample", "0")
    assert 0.6 <= found["seconds"] < 10
    assert found["sample"] == ""


def test_interrupted_it_tells_what_was_reached_and_samples(short, monkeypatch, capsys):
    step, steps = nn.train_step, []

    def interrupted(*arguments, **options):
        steps.append(0)
        if len(steps) > 3:
            raise KeyboardInterrupt
        return step(*arguments, **options)

    monkeypatch.setattr(nn, "train_step", interrupted)
    with cf.use_backend("reference"):
        assert train.run(arguments("--epochs", "9")) == 0
    shown = capsys.readouterr().out
    assert "\nThe " in shown
    assert "bits per character on held-out text after" in shown
    assert "epochs (interrupted)" in shown


@pytest.mark.parametrize("backend", BACKENDS)
def test_samples_are_drawn_as_the_temperature_says(backend, short):
    V = len(short.vocabulary)
    model = characters.network(TINY._replace(vocabulary=V), "float32", dropout=0.5, seed=3)
    with cf.use_backend(backend):
        cold, hot, again, other = (
            language.generate(model, short, 400, "be", temperature, seed)
            for temperature, seed in ((1e-9, 0), (1e3, 0), (1e3, 0), (1e3, 1))
        )
        ids = short.encode(cold)
        likeliest = model(ids[:, np.newaxis]).argmax(axis=-1)[:, 0]
    np.testing.assert_array_equal(ids[2:], likeliest[1:-1])
    assert hot[:2] == cold[:2] == "be"
    counts = np.bincount(short.encode(hot)[2:], minlength=V)
    expected = 400 / V
    assert ((counts - expected) ** 2 / expected).sum() < V + 5 * np.sqrt(2 * V)  # χ² of equal chances
    assert hot == again != other


def test_the_model_is_saved(short, tmp_path, capsys):
    path = tmp_path / "text.safetensors"
    with cf.use_backend("reference"):
        found = report(capsys, "--epochs", "1", "--save", str(path))
        assert language.bits_per_character(nn.load(path), short.held_out) == found["bits_per_character"]
    assert found["saved"] == str(path)
    with cf.use_backend("reference"):
        assert (
            train.run(arguments("--epochs", "0", "--sample", "0", "--save", str(tmp_path / "none" / "m")))
            == 1
        )
    assert "closedform train: --save: " in capsys.readouterr().err


# -- usage --


@pytest.mark.parametrize(
    "options",
    [
        *(["--epochs=-1"], ["--hidden=0"], ["--minutes=0"], ["--minutes=inf"], ["--temperature=0"]),
        *(["--dropout=1.1"], ["--lr=nan"], ["--model=mlp"], ["--backend=gpu"]),
    ],
)
def test_bad_options(options, capsys):
    with pytest.raises(SystemExit, match="2"):
        arguments(*options)
    assert "error: " in capsys.readouterr().err


@pytest.mark.parametrize(("option", "value"), [("--prompt", "☃"), ("--batch-size", "5000")])
def test_options_that_do_not_fit_the_text(option, value, short, capsys):
    with pytest.raises(SystemExit, match="2"):
        train.run(arguments(option, value))
    assert f"error: argument {option}: " in capsys.readouterr().err


def test_a_python_without_the_text(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "pydoc_data.topics", None)
    assert train.run(arguments()) == 2
    assert "needs pydoc_data" in capsys.readouterr().err


def test_ctrl_c_in_a_terminal():
    command = [sys.executable, "-m", "closedform", "train", "text", *SMALL, "--backend", "reference"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    time.sleep(3)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "Traceback" not in out + err
    assert "epochs (interrupted)" in out


# -- beside other libraries --


@pytest.mark.parametrize("library", ["closedform", "twin", "torch"])
def test_every_library_computes_the_same_losses(library):
    if library == "torch":
        pytest.importorskip("torch")
    size = TINY._replace(rows=8, steps=16)
    job = prepare(library, Case(bench_text.NAME, bench_text.label(size), "float32"))
    (found,), judge = job.check(), steps.judge(bench_text.NAME, bench_text.label(size))
    assert judge.error((found,)) <= steps.TOLERANCE
    assert job.flops == characters.flops(size) > 0


def test_the_steps_are_a_case_of_bench():
    assert [bench_text.size_of(case.label) for case in choose(["text_step"], full=False)] == list(
        bench_text.SIZES
    )


def test_speeds_are_compared(monkeypatch, capsys, short):
    monkeypatch.setattr(speed, "SECONDS", 0.05)
    found = report(capsys, "--epochs", "0", "--sample", "0", "--compare")["compared"]
    libraries = ["closedform", "twin", *(["torch"] if importlib.util.find_spec("torch") else [])]
    assert list(found) == libraries
    assert all(characters > 0 for characters in found.values())
