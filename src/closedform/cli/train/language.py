"""Training a language model by truncated backpropagation through time; what it is worth, and what it writes."""

from __future__ import annotations

import argparse
import math
import time
from itertools import pairwise
from typing import Any

import numpy as np

from closedform import nn, softmax

from .corpus import Corpus, in_rows
from .options import say, shows_bar

FINAL_LR = 0.1  # the learning rate at the end, as a share of that at the start
WINDOW = 1000  # characters of held-out text that are read in one go, from a state of zero
ROWS = 8  # such windows side by side: memory for their gates is the limit


class Trainer:
    """Reads the text in stretches side by side, some characters of each at a step, with the state carried on."""

    def __init__(self, model: nn.Layer, data: Corpus, args: argparse.Namespace) -> None:
        self.model, self.data, self.args = model, data, args
        self.loss, self.optimizer = nn.CrossEntropy(), nn.Adam(lr=args.lr)
        self.rng = np.random.default_rng(args.seed)
        self.rows = in_rows(data.train, args.batch_size)  # (characters of a stretch, N)
        minutes = 5.0 if args.minutes is None and args.epochs is None else args.minutes
        self.limit = math.inf if minutes is None else 60 * minutes
        self.history: list[dict[str, float]] = []
        self.n_read, self.busy, self.stopped = 0, 0.0, ""
        self._start = time.perf_counter()
        self._end: float | None = None

    @property
    def epochs(self) -> float:
        return self.n_read / int(self.rows[1:].size)

    @property
    def seconds(self) -> float:
        return (self._end or time.perf_counter()) - self._start

    @property
    def characters_per_second(self) -> float | None:
        """In training steps, without the time that measuring took."""
        return self.n_read / self.busy if self.n_read else None

    @property
    def progress(self) -> float:
        """The share of the work that is done, by epochs or by time; 1 and more at the end."""
        asked = self.args.epochs
        by_epochs = 0.0 if asked is None else self.epochs / asked if asked else 1.0
        return max(by_epochs, self.seconds / self.limit)

    def run(self) -> None:
        """Epoch by epoch until time is up; Ctrl-C ends it earlier."""
        with _Bar(shown=not self.args.json and shows_bar()) as bar:
            try:
                while self.progress < 1:
                    self._epoch(bar)
            except KeyboardInterrupt:
                self.stopped = "interrupted"
        self._end = time.perf_counter()
        self.model.reset_carried()

    def _epoch(self, bar: _Bar) -> None:
        T, last = self.args.steps, len(self.rows) - 1
        bits, read, busy = 0.0, 0, self.busy
        self.model.reset_carried()
        edges = [0, *range(int(self.rng.integers(1, T + 1)), last, T), last]  # cut elsewhere in every epoch
        for start, stop in pairwise(edges):
            x, y = self.rows[start:stop], self.rows[start + 1 : stop + 1]
            began = time.perf_counter()
            bits += self._step(x, y) * y.size
            self.busy += time.perf_counter() - began
            self.n_read += y.size
            read += y.size
            bar.show(self.progress, f"{bits / read:.3f} bits per character")
            if self.progress >= 1 and stop < last:
                return
        held_out = bits_per_character(self.model, self.data.held_out)
        self.history.append({"bits": bits / read, "held_out_bits": held_out, "seconds": self.seconds})
        if not self.args.json:
            speed = read / (self.busy - busy)
            told = f"bits per character {bits / read:.3f}, held-out {held_out:.3f}  {speed:,.0f} characters/s"
            say(f"epoch {len(self.history):3}  {told}  {self.seconds:.0f} s")

    def _step(self, x: Any, y: Any) -> float:
        """Bits per character before the update."""
        cosine = 0.5 * (1 + math.cos(math.pi * min(self.progress, 1.0)))
        self.optimizer.lr = self.args.lr * (FINAL_LR + (1 - FINAL_LR) * cosine)
        return nn.train_step(self.model, self.loss, self.optimizer, x, y, clip=self.args.clip) / math.log(2)


class _Bar:
    """How much of the work is done, where there is a terminal to draw on."""

    def __init__(self, *, shown: bool) -> None:
        self._bar: Any = None
        if shown:
            from tqdm.auto import tqdm

            form = "{percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}"
            self._bar = tqdm(total=1000, bar_format=form, dynamic_ncols=True)

    def show(self, progress: float, text: str) -> None:
        if self._bar is not None:
            self._bar.set_postfix_str(text, refresh=False)
            self._bar.update(min(1000, int(1000 * progress)) - self._bar.n)

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.close()


def bits_per_character(model: nn.Layer, ids: Any) -> float:
    """Mean of −log₂ p(the next character) over a text, read in windows: the state before each is unknown."""
    loss = nn.CrossEntropy(reduction="sum")
    rows = in_rows(ids, math.ceil(len(ids) / WINDOW))
    nats = sum(
        float(loss(model.forward(rows[:-1, i : i + ROWS]), rows[1:, i : i + ROWS]))
        for i in range(0, rows.shape[1], ROWS)
    )
    return nats / int(rows[1:].size) / math.log(2)


def generate(model: nn.Layer, data: Corpus, length: int, prompt: str, temperature: float, seed: int) -> str:
    """The prompt, and `length` characters drawn one by one, each given all before it; "" for no length."""
    if not length:
        return ""
    rng = np.random.default_rng(seed)
    model.reset_carried()
    written = list(data.encode(prompt or "\n"))
    for c in written:
        logits = model.step([c])
    for _ in range(length):
        p = softmax(logits[0].astype(np.float64), temperature=temperature)
        written.append(rng.choice(len(p), p=p))
        logits = model.step([written[-1]])
    model.reset_carried()
    return data.decode(written)
