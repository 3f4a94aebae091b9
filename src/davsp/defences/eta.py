"""ETA: evaluate, then align. Answers that look unsafe are written anew, the best of several sentences at a time."""

from __future__ import annotations

import asyncio
import hashlib
import re
from functools import partial
from typing import Self

from pydantic import BaseModel, ConfigDict, Field

from davsp.data.query import Query
from davsp.defences.base import Defence, Exchange
from davsp.defences.helpers import Clip, RewardModel
from davsp.imaging.opening import open_image
from davsp.models.requests import Request
from davsp.util.options import Count, Positive

SENTENCE_END = re.compile(r"(?<=[.!?])(?=\s|$)|\n")


class EtaOptions(BaseModel):
    """Helpers, thresholds and sampling. Thresholds are the method's own: they belong to its own helpers' scales."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reward: str = Field(
        description="Model that scores answers: a hub id or folder of a sequence classifier with one label."
    )
    clip: str = Field("openai/clip-vit-large-patch14-336", description="CLIP model, by hub id or folder.")
    reward_threshold: float = Field(0.06, description="An answer of a higher reward is kept.")
    clip_threshold: float = Field(
        0.16, description="An answer about an image that is less like `unsafe` than this is kept."
    )
    unsafe: str = Field("unsafe contents", description="The text that CLIP compares the image with.")
    prefix: str = Field("As an AI assistant", description="How an answer that is written anew begins.")
    candidates: Positive = Field(5, description="Sentences that are sampled at a time, of which the best is kept.")
    max_sentences: Positive = Field(12, description="Most sentences of an answer that is written anew.")
    sentence_tokens: Positive = Field(64, description="Most tokens of one sampled sentence.")
    temperature: float = Field(0.7, gt=0, description="Temperature of the sampling.")
    seed: Count = Field(0, description="Of the sampling, beside the query itself.")
    device: str = Field("auto", description="Where the helpers run: auto, cpu, cuda, cuda:1 ...")


class Eta(Defence):
    """Keep a greedy answer of high reward, or about images that look safe, all of them; else write it anew after a
    prefix. Without an image, the reward decides."""

    kind = name = "eta"
    Options = EtaOptions
    begins_answers = True

    def __init__(self, options: EtaOptions, clip: Clip, reward: RewardModel) -> None:
        self.options, self.clip, self.reward = options, clip, reward

    @classmethod
    def from_options(cls, options: EtaOptions) -> Self:
        """With the helpers that the options name. Raises ModelError when one of them cannot be loaded."""
        return cls(options, Clip(options.clip, options.device), RewardModel(options.reward, options.device))

    @property
    def identity(self) -> str:
        return f"{self.options.model_dump_json(exclude={'device'})} {self.clip.identity} {self.reward.identity}"

    async def answer(self, query: Query, exchange: Exchange) -> str:
        options = self.options
        first = (await exchange.ask(Request(query.messages))).text
        if await exchange.consult(partial(self.reward.score, query.question, first)) > options.reward_threshold:
            return first
        likenesses = await self._likenesses(query, options.unsafe, exchange)
        if likenesses and max(likenesses) < options.clip_threshold:
            return first
        return await self._anew(query, exchange)

    async def _anew(self, query: Query, exchange: Exchange) -> str:
        answer = self.options.prefix
        for number in range(self.options.max_sentences):
            requests = [self._request(query, answer, number, i) for i in range(self.options.candidates)]
            responses = await asyncio.gather(*(exchange.ask(r, self.options.sentence_tokens) for r in requests))
            sentences = [first_sentence(response.text) for response in responses]
            ended = [
                response.finished and sentence == response.text.rstrip()
                for response, sentence in zip(responses, sentences, strict=True)
            ]
            scores = [await self._score(query, answer, sentence, exchange) for sentence in sentences]
            best = max(range(len(scores)), key=scores.__getitem__)
            answer += sentences[best]
            if ended[best] or not sentences[best].strip():
                break
        return answer

    def _request(self, query: Query, begun: str, number: int, candidate: int) -> Request:
        drawn = repr((self.options.seed, query.id, query.question, number, candidate)).encode()
        seed = int.from_bytes(hashlib.sha256(drawn).digest()[:4], "big")
        return Request(query.messages, begun=begun, temperature=self.options.temperature, seed=seed)

    async def _score(self, query: Query, begun: str, sentence: str, exchange: Exchange) -> float:
        """Reward of the answer so far, and how well the sentence fits the images, in the mean; 0 for one that says
        nothing."""
        reward = await exchange.consult(partial(self.reward.score, query.question, begun + sentence))
        if not sentence.strip():
            return reward
        likenesses = await self._likenesses(query, sentence.strip(), exchange)
        return reward + (sum(likenesses) / len(likenesses) if likenesses else 0)

    async def _likenesses(self, query: Query, text: str, exchange: Exchange) -> list[float]:
        """How much each image of the query is like a text."""
        images = [open_image(image, what=query.id) for image in query.images]
        return [await exchange.consult(partial(self.clip.similarity, image, text)) for image in images]


def first_sentence(text: str) -> str:
    """A text up to its first full stop, exclamation or question mark before a space, or up to a line break."""
    begin = len(text) - len(text.lstrip())
    end = SENTENCE_END.search(text, begin)
    return text[: end.start()] if end else text.rstrip()
