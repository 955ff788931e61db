"""Real English text that every Python has: the topics of `help()`, from the language reference."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import numpy as np

HELD_OUT = 0.1  # the share of the text, at its end, that is not trained on


class Corpus(NamedTuple):
    """Ids of characters, and what they stand for."""

    train: Any
    held_out: Any
    vocabulary: str

    def encode(self, text: str) -> Any:
        """Ids of a text; ValueError for a character that the corpus does not have."""
        if unknown := sorted(set(text) - set(self.vocabulary)):
            raise ValueError(f"characters that the text does not have: {''.join(unknown)!r}")
        return np.array([self.vocabulary.index(c) for c in text])

    def decode(self, ids: Any) -> str:
        return "".join(self.vocabulary[i] for i in ids)


def load() -> Corpus:
    """Topics repeat each other's paragraphs: each is taken once, so that what is held out was never seen."""
    from pydoc_data.topics import topics

    paragraphs = dict.fromkeys(p for topic in topics.values() for p in re.split(r"\n\n+", topic.strip("\n")))
    text = "\n\n".join(paragraphs)
    vocabulary = "".join(sorted(set(text)))
    places = {c: i for i, c in enumerate(vocabulary)}
    ids = np.array([places[c] for c in text])
    cut = int(len(ids) * (1 - HELD_OUT))
    return Corpus(ids[:cut], ids[cut:], vocabulary)


def in_rows(ids: Any, rows: int) -> Any:
    """A text as (T, N): N consecutive stretches of T characters, side by side. The last few are left out."""
    T = len(ids) // rows
    return ids[: T * rows].reshape(rows, T).T
