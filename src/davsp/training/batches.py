"""Queries prepared once for training: images resized to the interior, texts as tokens; and who comes when."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType

import numpy as np
import torch

from davsp.data.conversation import ImageContent, Role
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
    """interior: float32 images as they lie within the prompt, of all queries in order; tokens: prompts, with answers
    where wanted."""

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


def _users_images(query: Query) -> tuple[ImageContent, ...]:
    if not query.images or any(message.images and message.role is not Role.USER for message in query.messages):
        raise InputError(
            f"query {query.id!r} has no image, or one that is not a user's: a visual prompt is trained around the "
            "images of users. Leave it out."
        )
    return query.images


def target_ids(model: VisionLanguageModel, target: Target) -> list[int]:
    """The token ids of what is trained towards, with the end token where it is finished, or where there is no other."""
    ids = model.answer_ids(target.text)
    return ids if target.finished else ids[:-1] or ids


class PreparedQueries:
    """Queries of one side (all malicious or all benign), ready to be batched.

    `interiors`, of all images of all queries, are kept as uint8 (3, h, w), `prompts` and `answers` as token ids, all of
    them in files. Answers are those of `target_of`, which raises InputError for a benign query that has none; so does a
    query without an image, or with one that is not a user's, which no prompt lies around.
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
        self.images: list[range] = []
        """The places of each query's interiors."""
        targets = [target_of(query, own) for query in queries]
        for query, target in zip(queries, targets, strict=True):
            inside = [layout.interior(open_image(image, what=f"query {query.id}")) for image in _users_images(query)]
            sizes = [layout.canvas_size(image.height, image.width) for image in inside]
            self.prompts.append(np.array(model.chat_ids(query.with_prefix(prefix).messages, sizes)))
            self.answers.append(np.array(target_ids(model, target)))
            self.images.append(range(len(self.interiors), len(self.interiors) + len(inside)))
            for image in inside:
                self.interiors.append(to_bytes(image).numpy())

    def __len__(self) -> int:
        return len(self.prompts)

    def length(self, index: int) -> int:
        """Tokens of a query and its answer."""
        return self.prompts.shapes[index][0] + self.answers.shapes[index][0]

    def batch(self, indices: Sequence[int], *, answered: bool) -> Batch:
        """The queries at `indices`; with `answered`, each prompt is followed by its answer."""
        prompts = [self.prompts[i].tolist() for i in indices]
        answers = [self.answers[i].tolist() for i in indices] if answered else None
        inside = [self.interiors[place] for i in indices for place in self.images[i]]
        device, tokens = self.model.device, self.model.tokens(prompts, answers, [len(self.images[i]) for i in indices])
        if len({i.shape for i in inside}) == 1:
            return Batch(from_bytes(on_device(torch.stack(inside), device)), tokens)
        return Batch([from_bytes(on_device(i, device)) for i in inside], tokens)

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
