"""A defence as an Inspect solver: it rewrites the query before the model sees it."""

from __future__ import annotations

from typing import Protocol

from anyio import to_thread
from inspect_ai.model import ChatMessageUser, Content, ContentImage, ContentText
from inspect_ai.solver import Generate, Solver, TaskState, solver

from davsp.evaluate.media import decode_image, encode_image
from davsp.evaluate.provider import one_image_and_text
from davsp.images import open_image
from davsp.samples import Query


class Defence(Protocol):
    """Anything that rewrites a query so that a model answers it more safely."""

    @property
    def name(self) -> str:
        """A short name, unique among the defences that are compared."""

    def defend(self, query: Query) -> Query:
        """The query as the model is to see it."""


@solver
def defended(defence: Defence) -> Solver:
    """Rewrite image and question by a defence, with any Inspect model behind it.

    The defence sees image and question, never the label or the reference answer. If it raises, the sample
    fails: the undefended query is never sent instead.
    """

    async def solve(state: TaskState, generate: Generate) -> TaskState:  # noqa: ARG001
        image, question = one_image_and_text(state.messages)
        state.messages = [await to_thread.run_sync(_defend, defence, str(state.sample_id), image, question)]
        return state

    return solve


def _defend(defence: Defence, identifier: str, image: str, question: str) -> ChatMessageUser:
    query = defence.defend(Query(identifier, decode_image(image), question))
    content: list[Content] = [
        ContentImage(image=encode_image(open_image(query.image))),
        ContentText(text=query.question),
    ]
    return ChatMessageUser(content=content)
