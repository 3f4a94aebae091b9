"""Queries prepared once for training: images resized to the interior, texts as tokens; and who comes when."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType

import numpy as np
import torch

from davsp.data.query import Query
from davsp.data.references import as_answer
from davsp.errors import InputError
from davsp.imaging.opening import open_image
from davsp.imaging.pixels import Pixels, from_bytes, to_bytes
from davsp.models.base import VisionLanguageModel
from davsp.models.tokens import Tokens
from davsp.prompts.layouts import Layout
from davsp.training.spool import Spool
from davsp.util.devices import on_device

REFUSAL = "I am sorry, I cannot help with that."
"""The answer a malicious query is trained towards when it brings none of its own."""


@dataclass(frozen=True)
class Batch:
    """interior: float32 images as they lie within the prompt; tokens: prompts, with answers where wanted."""

    interior: Pixels
    tokens: Tokens


@dataclass(frozen=True)
class Target:
    """An answer to be trained towards. Not `finished`: it is the beginning of one."""

    text: str
    finished: bool = True


def target_of(query: Query, own: Mapping[str, Target]) -> Target:
    """What a query is trained towards: its reference answer, else what `own` says by its id, else REFUSAL. Raises
    InputError for a benign query that has none."""
    if query.answer:
        return Target(as_answer(query.answer))
    if query.id in own:
        return own[query.id]
    if not query.malicious:
        raise InputError(f"benign query {query.id!r} has no answer: training needs what to keep answering.")
    return Target(REFUSAL)


def target_ids(model: VisionLanguageModel, target: Target) -> list[int]:
    """The token ids of what is trained towards, with the end token where it is finished."""
    ids = model.answer_ids(target.text)
    return ids if target.finished else ids[:-1]


class PreparedQueries:
    """Queries of one side (all malicious or all benign), ready to be batched.

    `interiors` are kept as uint8 (3, h, w), `prompts` and `answers` as token ids, all of them in files. Answers are
    those of `target_of`, which raises InputError for a benign query that has none.
    """

    def __init__(
        self,
        model: VisionLanguageModel,
        queries: Sequence[Query],
        layout: Layout,
        prefix: str,
        own: Mapping[str, Target] = MappingProxyType({}),
    ) -> None:
        self.model = model
        self.queries = tuple(queries)
        self.prompts, self.answers = Spool(np.int32), Spool(np.int32)
        self.interiors = Spool(np.uint8)
        targets = [target_of(query, own) for query in queries]
        for query, target in zip(queries, targets, strict=True):
            inside = layout.interior(open_image(query.image))
            size = layout.canvas_size(inside.height, inside.width)
            self.prompts.append(np.array(model.prompt_ids(query.question, prefix, size)))
            self.answers.append(np.array(target_ids(model, target)))
            self.interiors.append(to_bytes(inside).numpy())

    def __len__(self) -> int:
        return len(self.prompts)

    def length(self, index: int) -> int:
        """Tokens of a query and its answer."""
        return self.prompts.shapes[index][0] + self.answers.shapes[index][0]

    def batch(self, indices: Sequence[int], *, answered: bool) -> Batch:
        """The queries at `indices`; with `answered`, each prompt is followed by its answer."""
        prompts = [self.prompts[i].tolist() for i in indices]
        answers = [self.answers[i].tolist() for i in indices] if answered else None
        inside = [self.interiors[i] for i in indices]
        device = self.model.device
        if len({i.shape for i in inside}) == 1:
            return Batch(from_bytes(on_device(torch.stack(inside), device)), self.model.tokens(prompts, answers))
        return Batch([from_bytes(on_device(i, device)) for i in inside], self.model.tokens(prompts, answers))

    @cached_property
    def digest(self) -> str:
        """SHA-256 over ids, prompts, answers and interiors: equal exactly when training would see the same data."""
        total = hashlib.sha256()
        for inside in self.interiors:
            total.update(inside.numpy().tobytes())
        for query, prompt, answer in zip(self.queries, self.prompts, self.answers, strict=True):
            total.update(repr((query.id, query.malicious, prompt.tolist(), answer.tolist())).encode())
        return total.hexdigest()


class Shuffle:
    """An endless sequence of shuffled passes over n items, a function of (seed, position) alone."""

    def __init__(self, n: int, seed: int, stream: int) -> None:
        self.n, self.seed, self.stream = n, seed, stream

    def take(self, start: int, count: int) -> list[int]:
        """Items number start to start + count - 1 of the sequence."""
        items: list[int] = []
        while len(items) < count:
            epoch, offset = divmod(start + len(items), self.n)
            order = np.random.default_rng([self.seed, self.stream, epoch]).permutation(self.n)
            items += order[offset : offset + count - len(items)].tolist()
        return items
