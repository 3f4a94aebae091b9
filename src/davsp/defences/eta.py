"""ETA: evaluate, then align. Answers that look unsafe are written anew, the best of several sentences at a time."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from davsp.data.query import Query
from davsp.defences.base import Exchange
from davsp.defences.helpers import Clip, RewardModel
from davsp.imaging.opening import open_image
from davsp.models.requests import Request
from davsp.util.options import Positive, read_options

SENTENCE_END = re.compile(r"(?<=[.!?])(?=\s|$)|\n")


class EtaOptions(BaseModel):
    """Helpers, thresholds and sampling. Thresholds are the method's own: they belong to its own helpers' scales."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reward: str
    """Model that scores answers: a hub id or folder of a sequence classifier with one label."""
    clip: str = "openai/clip-vit-large-patch14-336"
    reward_threshold: float = 0.06
    """An answer of a higher reward is kept."""
    clip_threshold: float = 0.16
    """An answer about an image that is less like `unsafe` than this is kept."""
    unsafe: str = "unsafe contents"
    prefix: str = "As an AI assistant"
    candidates: Positive = 5
    max_sentences: Positive = 12
    sentence_tokens: Positive = 64
    temperature: Annotated[float, Field(gt=0)] = 0.7
    seed: Annotated[int, Field(ge=0)] = 0
    device: str = "auto"
    """Where the helpers run: auto, cpu, cuda, cuda:1 ..."""


@dataclass(frozen=True)
class Eta:
    """Keep a greedy answer of high reward, or about an image that looks safe; else write it anew after a prefix."""

    options: EtaOptions
    clip: Clip = field(repr=False)
    reward: RewardModel = field(repr=False)
    name: str = "eta"

    begins_answers: ClassVar[bool] = True
    """It has the model go on from an answer of which it gives the beginning."""

    @classmethod
    def of(cls, assignments: Sequence[str]) -> Eta:
        """From "name=value" options. Raises InputError for a bad one, ModelError when a helper cannot be loaded."""
        options = read_options(EtaOptions, {}, assignments)
        return cls(options, Clip(options.clip, options.device), RewardModel(options.reward, options.device))

    @property
    def identity(self) -> str:
        return self.options.model_dump_json(exclude={"device"})

    async def answer(self, query: Query, exchange: Exchange) -> str:
        options = self.options
        first = (await exchange.ask(Request(query.question, query.image))).text
        if await exchange.consult(partial(self.reward.score, query.question, first)) > options.reward_threshold:
            return first
        image = open_image(query.image)
        if await exchange.consult(partial(self.clip.similarity, image, options.unsafe)) < options.clip_threshold:
            return first
        return await self._anew(query, exchange)

    async def _anew(self, query: Query, exchange: Exchange) -> str:
        said = self.options.prefix
        for number in range(self.options.max_sentences):
            requests = [self._request(query, said, number, i) for i in range(self.options.candidates)]
            found = await asyncio.gather(*(exchange.ask(r, self.options.sentence_tokens) for r in requests))
            sentences = [first_sentence(response.text) for response in found]
            ended = [
                response.finished and sentence == response.text.rstrip()
                for response, sentence in zip(found, sentences, strict=True)
            ]
            scores = [await self._score(query, said, sentence, exchange) for sentence in sentences]
            best = max(range(len(scores)), key=scores.__getitem__)
            said += sentences[best]
            if ended[best] or not sentences[best].strip():
                break
        return said

    def _request(self, query: Query, said: str, number: int, candidate: int) -> Request:
        told = repr((self.options.seed, query.id, query.question, number, candidate)).encode()
        seed = int.from_bytes(hashlib.sha256(told).digest()[:4], "big")
        return Request(query.question, query.image, said, self.options.temperature, seed)

    async def _score(self, query: Query, said: str, sentence: str, exchange: Exchange) -> float:
        """Reward of the answer so far, and how well the sentence fits the image; 0 for one that says nothing."""
        reward = await exchange.consult(partial(self.reward.score, query.question, said + sentence))
        if not sentence.strip():
            return reward
        fit = await exchange.consult(partial(self.clip.similarity, open_image(query.image), sentence.strip()))
        return reward + fit


def first_sentence(text: str) -> str:
    """A text up to its first full stop, exclamation or question mark before a space, or up to a line break."""
    begin = len(text) - len(text.lstrip())
    end = SENTENCE_END.search(text, begin)
    return text[: end.start()] if end else text.rstrip()
