"""What every defence is, and what passes between it and a model while it answers one query."""

# ruff: noqa: ARG003 - what a class method of the contract is given, a subclass uses

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar

from pydantic import BaseModel, ConfigDict

from davsp.data.conversation import Role
from davsp.data.query import Query
from davsp.errors import InputError
from davsp.judges.thinking import after_thinking
from davsp.models.probe import Probe
from davsp.models.requests import Request, Response

if TYPE_CHECKING:
    from davsp.imaging.canvas import Canvas
    from davsp.models.base import VisionLanguageModel

T = TypeVar("T")


@dataclass(frozen=True)
class QueryCost:
    """What one query cost: calls of the model, its tokens, and calls of helper models, such as CLIP.

    Tokens are the model's own, images included, and None where it did not tell them.
    """

    calls: int = 0
    input_tokens: int | None = 0
    output_tokens: int | None = 0
    helper_calls: int = 0


@dataclass
class Exchange:
    """What a defence may do while it answers one query: ask the model, consult helpers. It counts both.

    `send` puts a request to the model, with a limit of new tokens or the run's own (None). A model that thinks may
    write `thinking_tokens` more than a limit.
    """

    send: Callable[[Request, int | None], Awaitable[Response]]
    thinking_tokens: int = 0
    cost: QueryCost = field(default_factory=QueryCost)
    unfamiliar: bool | None = None
    """Whether the defence has seen no query of that kind before, where it can tell."""
    alarm: bool | None = None
    """Whether the model recognised harm behind the defence, where that has an alarm."""

    async def ask(self, request: Request, max_new_tokens: int | None = None) -> Response:
        """The model's response to one request; of a model that thinks, what follows its thinking, if anything does."""
        self.cost = replace(self.cost, calls=self.cost.calls + 1)
        response = await self.send(request, max_new_tokens and max_new_tokens + self.thinking_tokens)
        cost = self.cost
        self.cost = replace(
            cost,
            input_tokens=_sum(cost.input_tokens, response.input_tokens),
            output_tokens=_sum(cost.output_tokens, response.output_tokens),
        )
        answer = after_thinking(response.text)
        return response if answer in (None, response.text) else replace(response, text=(answer or "").strip())

    async def consult(self, helper: Callable[[], T]) -> T:
        """What one call of a helper model gives; it runs in a thread."""
        given = await asyncio.to_thread(helper)
        self.cost = replace(self.cost, helper_calls=self.cost.helper_calls + 1)
        return given


@dataclass(frozen=True)
class FittingData:
    """What a defence is fitted to. A class declares what of it `fit` needs (`fits_queries`, `fits_corpus`)."""

    training: Sequence[Query] = ()
    validation: Sequence[Query] = ()
    corpus: Sequence[str] = ()


class NoOptions(BaseModel):
    """Of a defence without options."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Defence(ABC):
    """What stands between a query and a model, and gives the answer that the user gets.

    One that changes the query and asks once is a `RewritingDefence`. A class is registered under its `kind`, as an
    entry point of the group "davsp.defences": that is all that the command line needs to use it. It is made by its
    name (`from_options`), or fitted to a model and saved (`fit`, `load`); what it leaves out raises InputError.
    """

    kind: ClassVar[str]
    """The name of its entry point; the config.json of a saved one tells it by that."""
    Options: ClassVar[type[BaseModel]] = NoOptions
    """What `from_options` takes. A user gives them after the name, "eta:reward=FOLDER"."""
    FitOptions: ClassVar[type[BaseModel]] = NoOptions
    """What `fit` takes, a `seed` among it if it draws anything; NoOptions for a defence that is not fitted."""
    fits_queries: ClassVar[bool] = False
    """Whether `fit` needs queries."""
    fits_corpus: ClassVar[str | None] = None
    """Of what the corpus is that `fit` needs, such as `davsp.defences.corpus.HARMFUL_SENTENCES`; None: of nothing."""
    fit_keeps_reading: ClassVar[bool] = False
    """Whether a `fit` that is stopped while it reads leaves what it read for the next one."""
    begins_answers: ClassVar[bool] = False
    """Whether it needs a model that goes on from an answer of which the defence gives the beginning."""
    reads_states: ClassVar[bool] = False
    """Whether it needs the hidden states of a loaded model."""
    model_specific: ClassVar[bool] = False
    """Whether one is made for a certain model, so that `check` refuses others."""

    name: str
    """A short name, unique among the defences that are compared."""
    inner: Defence | None = None
    """The defence behind it, of one that answers queries behind another."""

    @property
    @abstractmethod
    def identity(self) -> str:
        """What tells it from any other of its name: all that its answers depend on, or a digest of that."""

    @abstractmethod
    async def answer(self, query: Query, exchange: Exchange) -> str:
        """The answer that the user gets. What it raises fails the query, and nothing else is sent in its place."""

    def check(self, model: VisionLanguageModel) -> None:  # noqa: B027 - one that suits every model has nothing to check
        """Raise ArtefactError when it was made for another model than `model`."""

    def on_canvas(self, canvas: Canvas) -> Self:  # noqa: ARG002 - for defences that compose images
        """The same defence for a model with this canvas: what it composes anew for other sizes of images."""
        return self

    def with_limits(self, min_pixels: int | None = None, max_pixels: int | None = None) -> Self:  # noqa: ARG002
        """The same defence for a model whose processor holds images within other limits of pixels in all (None: the
        limits that it was made for), such as one on a server. A loaded model brings its own.

        Raises InputError for limits that cannot be, ArtefactError when its images would be resampled under them.
        """
        return self

    def on_images_of(self, roles: Collection[Role]) -> Self:  # noqa: ARG002 - for defences that compose images
        """The same defence, which composes the images in messages of these roles; by default it does a user's."""
        return self

    @property
    def alignment(self) -> Probe | None:
        """The score of hidden states that it moves or goes by; None for none."""
        return None

    @property
    def thresholds(self) -> tuple[float, float] | None:
        """The scores above which it was to bring malicious queries, and below which benign ones; None for none."""
        return None

    def picture(self) -> bytes | None:
        """What it puts on images, as a PNG file; None for nothing that can be shown."""
        return None

    def preview(self, query: Query) -> Query:
        """The query as the model is to see it; of a defence that asks more than once, the user's own."""
        return query

    def as_read(self, query: Query) -> Query:
        """The query as the model sees it where its hidden states are projected on `alignment`."""
        return self.preview(query)

    @classmethod
    def from_options(cls, options: Any) -> Self:
        """The defence of these `Options`. Raises InputError when there is none without a folder."""
        raise InputError("a name is not enough for it: give the folder that `davsp train` or `davsp fit` wrote.")

    @classmethod
    def fit(
        cls,
        model: VisionLanguageModel,
        options: Any,
        data: FittingData,
        folder: Path,
        *,
        quiet: bool = False,
    ) -> Self:
        """Fit one to a model with these `FitOptions`, going on from the state in `folder`, and save it there under the
        folder's name.

        Raises InputError when it is not fitted, Interrupted on Ctrl-C, with the state saved.
        """
        raise InputError(f"{cls.kind} is not fitted: use it by its name, or by the folder of a saved one.")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """The one that is saved in a folder. Raises InputError when it is never saved, ArtefactError when the folder
        is damaged or holds another kind."""
        raise InputError(f"{folder}: {cls.kind} is not loaded from folders: use it by its name.")


class RewritingDefence(Defence):
    """A defence that rewrites the query and asks the model once. If rewriting raises, the model is not asked."""

    @abstractmethod
    def defend(self, query: Query) -> Query:
        """The query as the model is to see it. Called from several threads at once."""

    async def answer(self, query: Query, exchange: Exchange) -> str:
        """The model's answer to the rewritten query."""
        defended = await asyncio.to_thread(self.defend, query)
        return (await exchange.ask(Request(defended.messages))).text

    def preview(self, query: Query) -> Query:
        """The rewritten query."""
        return self.defend(query)


def _sum(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else one + other
