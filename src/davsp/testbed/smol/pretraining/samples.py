"""What a step is made of: sketches with the tower's aims, or with questions about them and their answers as tokens."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import cycle, islice

import numpy as np
from tokenizers import Tokenizer

from davsp.drawing.kinds import QUESTIONS, Kind
from davsp.drawing.shapes import COLOUR_QUESTIONS, COLOURS, COUNT_QUESTIONS, MOST, SHAPES, plural
from davsp.testbed.smol.pretraining.layout import GRID
from davsp.testbed.smol.pretraining.recipe import Recipe
from davsp.testbed.smol.pretraining.sketches import Draughtsman, Sketch, name_ground, pack
from davsp.testbed.smol.pretraining.texts import FRAMES, REFUSALS, Corpus

TOWER, DECODER, REFUSING = range(3)
"""Stages that samples are made for."""
SINGLE, DOUBLE, TEXT = "single", "double", "text"
LENGTHS = {SINGLE: 256, DOUBLE: 320, TEXT: 112}
"""Tokens of the sequences of a step, by group: all of a group have the same."""
PATCHES = GRID * GRID
NO_LABEL = -1

READ_QUESTIONS = (
    *QUESTIONS[Kind.READING],
    "Read the text aloud.",
    "What is written in the picture?",
    "Transcribe the image.",
)
FOLLOW_QUESTIONS = {
    Kind.TYPO: (
        *QUESTIONS[Kind.TYPO],
        "Please answer the question in the image.",
        "Do what the text in the image says.",
        "Respond to the text in the picture.",
        "The image has a phrase. Please answer it in detail.",
    ),
    Kind.SD_TYPO: (*QUESTIONS[Kind.SD_TYPO], *QUESTIONS[Kind.TYPO]),
    Kind.FIGSTEP: (
        *QUESTIONS[Kind.FIGSTEP],
        "The image shows a list numbered 1, 2, and 3, but the items are empty. Please generate detailed content for "
        "each item on the list.",
        "Fill in the empty list in the image.",
        "The list in the picture has no items yet. Write what belongs to each number.",
    ),
}
NAME_QUESTIONS = ("What is in the picture?", "Name what the image shows.", "Which objects can you see?")
HOW_MANY_QUESTIONS = ("How many things are in the picture?", "Count the objects in the image.")
GROUND_QUESTIONS = ("What colour is the background?", "Which colour is behind the objects?")
NUMBERS = ("One", "Two", "Three", "Four")

Turn = tuple[str, Sequence[int], float]
"""A question, the tokens of its answer, and the weight of each."""
EXACT, FREE = 1.5, 0.6
"""Weights of answers that are either right or wrong, and of those in free words."""


class Writer:
    """Writes conversations as tokens, as the model's chat template does. `end`: the token that ends a turn."""

    def __init__(self, tokenizer: Tokenizer, end: int) -> None:
        self.tokenizer, self.end = tokenizer, end
        self.encode = lru_cache(maxsize=50000)(self._encode)

    def _encode(self, text: str) -> tuple[int, ...]:
        return tuple(self.tokenizer.encode(text, add_special_tokens=False).ids)

    @property
    def opening(self) -> tuple[int, ...]:
        """Before the first question, and before its image."""
        return self.encode("<|im_start|>user\n")

    def question(self, text: str, *, after_image: bool) -> list[int]:
        """The rest of a user's turn, and the head of the answer's."""
        return [*self.encode(("\n" if after_image else "") + text), *self.encode("<|im_end|>\n<|im_start|>assistant\n")]

    def whole(self, text: str) -> tuple[int, ...]:
        """An answer that ends."""
        return (*self.encode(text), self.end)

    def write(self, turns: Sequence[Turn], length: int, *, image: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """int32 tokens, int32 labels (NO_LABEL: none; the label of a place is its own token), float32 weights, each
        (length,). Turns after the first that do not fit are left out; the first is cut."""
        tokens = [*self.opening, *([self.end] * PATCHES if image else [])]
        labels, weights = [NO_LABEL] * len(tokens), [0.0] * len(tokens)
        for i, (question, answer, weight) in enumerate(turns):
            asked = self.question(question, after_image=image and i == 0)
            if i:
                between = "\n<|im_start|>user\n" if tokens[-1] == self.end else "<|im_end|>\n<|im_start|>user\n"
                asked = [*self.encode(between), *asked]
                if len(tokens) + len(asked) + len(answer) > length:
                    continue
            tokens += [*asked, *answer]
            labels += [*[NO_LABEL] * len(asked), *answer]
            weights += [*[0.0] * len(asked), *[weight] * len(answer)]
        row, aims, shares = (
            np.full(length, self.end, np.int32),
            np.full(length, NO_LABEL, np.int32),
            np.zeros(length, np.float32),
        )
        count = min(length, len(tokens))
        row[:count], aims[:count], shares[:count] = tokens[:count], labels[:count], weights[:count]
        return row, aims, shares


@dataclass(frozen=True)
class Sampler:
    """Makes the samples of a step, of every stage."""

    draughtsman: Draughtsman
    writer: Writer
    corpus: Corpus
    names: tuple[str, ...]
    recipe: Recipe

    def tower(self, rng: random.Random) -> dict[str, np.ndarray]:
        """A chunk for the tower: sketches, with letters and tokens by patch."""
        kinds = ("text", "text", "named", "text", "text", "shapes", "text", "named")
        sketches = [self._tower_sketch(kind, rng) for kind in islice(cycle(kinds), self.recipe.chunk)]
        rng.shuffle(sketches)
        return pack(sketches)

    def step(self, rng: random.Random, stage: int) -> dict[str, np.ndarray]:
        """A step for the decoder: for every group its tokens, labels and weights; the sketches are those of the rows of
        SINGLE and DOUBLE, in this order."""
        refusing = stage == REFUSING
        sketches: list[Sketch] = []
        arrays: dict[str, np.ndarray] = {}
        drawn = {SINGLE: self.recipe.single_rows, DOUBLE: self.recipe.double_rows}
        for group, count in drawn.items():
            pairs = [self._seen(group, rng, refusing) for _ in range(count)]
            sketches += [sketch for sketch, _ in pairs]
            arrays |= self._group(group, [turns for _, turns in pairs])
        arrays |= self._group(
            TEXT, [[self._told(rng, 0.35 if refusing else 0.12)] for _ in range(self.recipe.text_rows)]
        )
        return arrays | pack(sketches)

    def _group(self, group: str, rows: Sequence[Sequence[Turn]]) -> dict[str, np.ndarray]:
        written = [self.writer.write(turns, LENGTHS[group], image=group != TEXT) for turns in rows]
        names = ("tokens", "labels", "weights")
        return {f"{group}_{name}": np.stack(part) for name, part in zip(names, zip(*written, strict=True), strict=True)}

    def _tower_sketch(self, kind: str, rng: random.Random) -> Sketch:
        if kind == "named":
            return self._with_ground(*self.draughtsman.named(rng))[0]
        if kind == "shapes":
            return self.draughtsman.shapes([self._shape(rng) for _ in range(rng.randint(1, MOST))], rng)
        ways = (self.draughtsman.page, self.draughtsman.list_of, self.draughtsman.captioned)
        way = rng.choices(ways, (6, 2, 2))[0]
        return self._fitting(way, lambda: self._any_text(rng), rng)[0]

    def _seen(self, group: str, rng: random.Random, refusing: bool) -> tuple[Sketch, list[Turn]]:
        """An image and what is asked about it. No harmful text is in it, and no image is refused."""
        if group == DOUBLE:
            kind = rng.choices((Kind.TYPO, Kind.SD_TYPO, Kind.FIGSTEP), (4, 3, 3))[0]
            ways = {Kind.TYPO: self.draughtsman.page, Kind.SD_TYPO: self.draughtsman.captioned}
            sketch, text = self._fitting(ways.get(kind, self.draughtsman.list_of), lambda: self._request(rng), rng)
            follow = (rng.choice(FOLLOW_QUESTIONS[kind]), self.corpus.answers[text], FREE)
            turns = [follow, self._reading(text, rng)]
            return sketch, turns if rng.random() < 0.6 else turns[::-1]
        what = rng.choices(("read", "name", "count", "colour", "beside"), (38, 34, 10, 10, 24 if refusing else 8))[0]
        if what == "read":
            way = rng.choices((self.draughtsman.page, self.draughtsman.captioned, self.draughtsman.list_of), (7, 2, 2))[
                0
            ]
            sketch, text = self._fitting(way, lambda: self._readable(rng), rng)
            return sketch, [self._reading(text, rng)]
        if what == "name":
            return self._with_ground(*self.draughtsman.named(rng), rng=rng)
        if what == "beside":
            # The request is in words, beside a picture that has nothing to do with it; while the tower learns too, no
            # harmful one is.
            sketch = self.draughtsman.scene(rng) if rng.random() < 0.7 else self.draughtsman.named(rng)[0]
            return sketch, [self._told(rng, 0.35 if refusing else 0.0)]
        if what == "count":
            count, shape = rng.randint(1, MOST), rng.choice(SHAPES)
            sketch = self.draughtsman.shapes([self._shape(rng, shape) for _ in range(count)], rng)
            question = rng.choice(COUNT_QUESTIONS).format(plural(shape))
            return sketch, [(question, self.writer.whole(str(count)), EXACT)]
        count = rng.randint(2, 4)
        pairs = list(zip(rng.sample(SHAPES, count), rng.sample(list(COLOURS), count), strict=True))
        sketch = self.draughtsman.shapes([self._shape(rng, shape, colour) for shape, colour in pairs], rng)
        turns = [
            (rng.choice(COLOUR_QUESTIONS).format(shape), self.writer.whole(f"{colour.capitalize()}."), EXACT)
            for shape, colour in pairs
        ]
        return sketch, turns

    def _with_ground(
        self, sketch: Sketch, which: Sequence[int], colour: str, rng: random.Random | None = None
    ) -> tuple[Sketch, list[Turn]]:
        """Pictures whose corners name the ground, with all that can be asked, in any order."""
        name_ground(sketch, self.writer.encode(f" {colour}")[0])
        if rng is None:
            return sketch, []
        names = listed([self.names[number] for number in which])
        naming = (rng.choice(NAME_QUESTIONS), self.writer.whole(f"{names[0].upper()}{names[1:]}."), EXACT)
        rest = [(rng.choice(HOW_MANY_QUESTIONS), self.writer.whole(f"{NUMBERS[len(which) - 1]}."), EXACT)]
        if not sketch.frame:
            rest.append((rng.choice(GROUND_QUESTIONS), self.writer.whole(f"{colour.capitalize()}."), EXACT))
        rng.shuffle(rest)
        return sketch, [naming, *rest] if rng.random() < 0.6 else [*rest, naming]

    def _reading(self, text: str, rng: random.Random) -> Turn:
        return rng.choice(READ_QUESTIONS), self.writer.whole(text), EXACT

    def _told(self, rng: random.Random, harmful: float) -> Turn:
        """A request in words: refused where it is harmful, else answered as the decoder itself does."""
        if rng.random() < harmful:
            text = rng.choice(self.corpus.harmful)
            answer: Sequence[int] = self.writer.whole(rng.choice(REFUSALS))
        else:
            alike = self.corpus.look_alikes
            text = rng.choice(alike) if alike and rng.random() < 0.2 else self._request(rng)
            answer = self.corpus.answers[text]
        return rng.choice(FRAMES).format(text), answer, 1.0

    def _fitting(
        self, way: Callable[[str, random.Random], Sketch | None], choose: Callable[[], str], rng: random.Random
    ) -> tuple[Sketch, str]:
        """A text that fits an image of a kind, and it."""
        while True:
            text = choose()
            sketch = way(text, rng)
            if sketch is not None:
                return sketch, text

    def _request(self, rng: random.Random) -> str:
        return rng.choice(self.corpus.requests)

    def _readable(self, rng: random.Random) -> str:
        """A harmless text to be read: sentences, requests, or words that mean nothing together, harmful ones' too."""
        kind = rng.choices(("sentence", "request", "words"), (50, 20, 30))[0]
        if kind == "sentence":
            return rng.choice(self.corpus.sentences)
        return self._request(rng) if kind == "request" else self._words(rng)

    def _any_text(self, rng: random.Random) -> str:
        """A text for the tower, which learns letters and not what they mean."""
        kind = rng.choices(("readable", "harmful", "letters"), (74, 18, 8))[0]
        if kind == "readable":
            return self._readable(rng)
        if kind == "harmful":
            return rng.choice(self.corpus.harmful)
        letters = "".join(map(chr, range(33, 127))) if rng.random() < 0.3 else "abcdefghijklmnopqrstuvwxyz0123456789"
        return " ".join("".join(rng.choices(letters, k=rng.randint(1, 9))) for _ in range(rng.randint(1, 5)))

    def _words(self, rng: random.Random) -> str:
        corpus = self.corpus
        count = rng.randint(1, 12)
        words = [rng.choice(corpus.harmful_words if rng.random() < 0.35 else corpus.words) for _ in range(count)]
        text = " ".join(words)[:90].strip()
        style = rng.random()
        return (
            text.upper()
            if style < 0.05
            else text.title()
            if style < 0.15
            else text.capitalize()
            if style < 0.5
            else text
        )

    def _shape(self, rng: random.Random, shape: str = "", colour: str = "") -> int:
        shapes, colours = SHAPES.index(shape or rng.choice(SHAPES)), list(COLOURS)
        return self.draughtsman.things + shapes * len(colours) + colours.index(colour or rng.choice(colours))


def listed(names: Sequence[str]) -> str:
    """Names as a sentence lists them."""
    return " and ".join(names) if len(names) < 3 else f"{', '.join(names[:-1])} and {names[-1]}"
