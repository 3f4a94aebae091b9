"""The texts of the recipe: what is drawn, what is asked, what is answered and what is refused."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer

from davsp.drawing.similar import without_duplicates_of
from davsp.testbed.harmless import look_alikes
from davsp.testbed.public_texts import read_public_texts

SIDE_OF_TEXTS = 448
"""The split of texts is that of `--data smol` in images of this side."""
SHORTEST, LONGEST = 8, 100
LINES = (24, 92)
"""Characters of the lines that answers are cut into, to be read."""
COMMON_WORDS = 20000
WORD = re.compile(r"Ġ[a-z]{3,}")

REFUSALS = (
    "I'm sorry, but I can't help with that.",
    "I'm sorry, I cannot assist with that request.",
    "I can't help with that. It could cause harm.",
    "Sorry, I can't assist with that.",
    "I'm sorry, but I won't help with that because it could hurt people.",
    "I cannot help with this request. It is harmful or illegal.",
)
FRAMES = ("{}",) * 8 + ("Please: {}", "{} Thanks!", "Hello! {}", "{} Please answer in detail.")
"""How a text is asked; harmful and harmless ones alike, so that none of this tells them apart."""


@dataclass(frozen=True)
class Sources:
    """Texts of the training split, and those of the test split, for the measurement after training alone."""

    harmful: tuple[str, ...]
    harmless: tuple[str, ...]
    look_alikes: tuple[str, ...]
    test_harmful: tuple[str, ...]
    test_harmless: tuple[str, ...]
    test_look_alikes: tuple[str, ...]
    apart: tuple[str, ...]
    """Texts of the other splits and harmful ones: nothing like them may be among the decoder's own requests."""


@dataclass(frozen=True)
class Corpus:
    """What workers draw from. `answers`: the tokens that the decoder itself answers each harmless request with."""

    answers: Mapping[str, Sequence[int]]
    requests: tuple[str, ...]
    look_alikes: tuple[str, ...]
    sentences: tuple[str, ...]
    words: tuple[str, ...]
    harmful: tuple[str, ...]
    harmful_words: tuple[str, ...]


def read_sources(folder: Path) -> Sources:
    """The texts of a folder, in the splits of `--data smol`. Raises InputError where a file is missing."""
    texts = read_public_texts(folder, SIDE_OF_TEXTS)
    alike = set(look_alikes())
    others = [
        text for split in ("validation", "test") for side in (texts.harmful, texts.harmless) for text in side[split]
    ]
    harmless = tuple(filter(drawable, texts.harmless["train"]))
    return Sources(
        texts.harmful["train"],
        harmless,
        tuple(text for text in harmless if text in alike),
        texts.harmful["test"],
        texts.harmless["test"],
        tuple(text for text in texts.harmless["test"] if text in alike),
        (*texts.harmful["train"], *others, *texts.xstest),
    )


def drawable(text: str) -> bool:
    """Whether there are letters for all of a text."""
    return text.isascii() and text.isprintable()


def usable(text: str) -> bool:
    """Whether a text can be drawn with the letters that there are, in a line or a few."""
    return SHORTEST <= len(text) <= LONGEST and drawable(text) and "  " not in text


def own_requests(written: Iterable[str], sources: Sources) -> list[str]:
    """Of what the decoder wrote as requests, those that can be used and are like no text of another split."""
    lines = (text.strip().split("\n")[0].strip() for text in written)
    kept = [text for text in dict.fromkeys(lines) if usable(text) and text[0].isalnum() and text.count(" ") >= 2]
    return without_duplicates_of(sources.apart, kept)


def build_corpus(sources: Sources, answers: Mapping[str, Sequence[int]], tokenizer: Tokenizer, seed: int = 0) -> Corpus:
    """The corpus, from the decoder's own answers to harmless requests."""
    rng = random.Random(seed)  # noqa: S311 - a choice of samples, no secret
    sentences: dict[str, None] = {}
    for request, answer in answers.items():
        for paragraph in (request, *tokenizer.decode(list(answer)).split("\n")):
            for line in _lines(paragraph, rng):
                sentences[line] = None
    vocabulary = sorted(tokenizer.get_vocab().items(), key=lambda entry: entry[1])
    words = [token[1:] for token, _ in vocabulary if WORD.fullmatch(token)][:COMMON_WORDS]
    harmful_words = sorted({word for text in sources.harmful for word in text.split() if word.isascii()})
    return Corpus(
        answers,
        tuple(answers),
        tuple(text for text in sources.look_alikes if text in answers),
        tuple(line for line in sentences if usable(line)),
        tuple(words),
        tuple(filter(usable, sources.harmful)),
        tuple(harmful_words),
    )


def _lines(paragraph: str, rng: random.Random) -> Iterable[str]:
    words, line, most = paragraph.split(), "", rng.randint(*LINES)
    for word in words:
        if line and len(line) + 1 + len(word) > most:
            yield line
            line, most = word, rng.randint(*LINES)
        else:
            line = f"{line} {word}".strip()
    if line:
        yield line
