"""An image guard before the model: what it finds unsafe is refused, or answered behind another defence."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from functools import partial
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field

from davsp.data.conversation import Role
from davsp.data.query import Query
from davsp.defences.base import Defence, Exchange
from davsp.defences.image_guards import SHIELDGEMMA_THRESHOLD, ImageGuard, load_guard
from davsp.defences.loading import load_defence
from davsp.errors import InputError
from davsp.imaging.canvas import Canvas
from davsp.imaging.opening import open_image
from davsp.models.base import VisionLanguageModel
from davsp.models.requests import Request
from davsp.training.batches import REFUSAL


class GuardOptions(BaseModel):
    """Which guard, and what stands behind it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = Field(
        description="The guard, by hub id or folder: Llama Guard 4 or 3 Vision, ShieldGemma 2, LlavaGuard."
    )
    inner: str = Field("", description="The defence that answers what is unsafe, a folder or a name; empty: a refusal.")
    policy: Path | None = Field(None, description="LlavaGuard: a text file with the policy that it is to judge by.")
    threshold: float | None = Field(
        None,
        ge=0,
        le=1,
        description="ShieldGemma 2: an image is unsafe that violates a policy with a higher probability. "
        f"Default: {SHIELDGEMMA_THRESHOLD:g}.",
    )
    device: str = Field("auto", description="Where the guard runs: auto, cpu, cuda, cuda:1 ...")


class Guard(Defence):
    """A guard model looks at each image, and reads the question where it is made for that. What it finds safe is asked
    as it is; what it finds unsafe is refused, or answered behind `inner`.

    A guard that fails, or whose decision is not exactly in its form, fails the query: it never passes as safe.
    """

    kind = "guard"
    Options = GuardOptions

    def __init__(self, guard: ImageGuard, inner: Defence | None = None) -> None:
        self.guard, self.inner = guard, inner
        name = f"{self.kind}:{Path(guard.name).name}"
        self.name = f"{name}+{inner.name}" if inner else name

    @classmethod
    def from_options(cls, options: GuardOptions) -> Self:
        """With the guard that the options name. Raises what `load_guard` and `load_defence` raise."""
        inner = load_defence(options.inner) if options.inner else None
        guard = load_guard(options.model, policy=options.policy, threshold=options.threshold, device=options.device)
        return cls(guard, inner)

    @property
    def identity(self) -> str:
        return f"{self.guard.identity} before {self.inner.identity if self.inner else REFUSAL!r}"

    async def answer(self, query: Query, exchange: Exchange) -> str:
        """The undefended answer, or, where an image is unsafe, that of `inner`. Raises ModelError where the guard gives
        no decision, InputError where there is no image."""
        if not query.images:
            raise InputError(f"query {query.id}: {self.name} looks at images, and there is none.")
        for source in query.images:
            image = await asyncio.to_thread(open_image, source, what=query.id)
            if await exchange.consult(partial(self.guard.is_unsafe, image, query.as_text)):
                return await self.inner.answer(query, exchange) if self.inner else REFUSAL
        return (await exchange.ask(Request(query.messages))).text

    def check(self, model: VisionLanguageModel) -> None:
        if self.inner:
            self.inner.check(model)

    def on_canvas(self, canvas: Canvas) -> Self:
        return self._before(self.inner.on_canvas(canvas)) if self.inner else self

    def with_limits(self, min_pixels: int | None = None, max_pixels: int | None = None) -> Self:
        return self._before(self.inner.with_limits(min_pixels, max_pixels)) if self.inner else self

    def on_images_of(self, roles: Collection[Role]) -> Self:
        return self._before(self.inner.on_images_of(roles)) if self.inner else self

    def _before(self, inner: Defence) -> Self:
        return type(self)(self.guard, inner)

    def picture(self) -> bytes | None:
        return self.inner.picture() if self.inner else None
