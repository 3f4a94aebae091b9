"""One question to a loaded model, answered without a defence and behind it, and what either took."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from PIL import Image

from davsp.data.query import Query, check_question
from davsp.defences.base import Defence, Exchange, QueryCost
from davsp.defences.gate import Gate
from davsp.defences.textual import Undefended
from davsp.imaging.opening import open_image
from davsp.models.base import VisionLanguageModel
from davsp.models.probe import Probe
from davsp.models.requests import Request, Response, Watch
from davsp.util.async_running import run_coroutine


@dataclass(frozen=True)
class Answered:
    """One answer and what it took. `projection` is that of the first time the model was asked; None where the defence
    brings no direction."""

    text: str
    seconds: float
    cost: QueryCost
    projection: float | None


class Comparison:
    """A loaded model, with and without a defence that suits it."""

    def __init__(self, model: VisionLanguageModel, defence: Defence, max_new_tokens: int = 256) -> None:
        """Raises ArtefactError for a defence that was made for another model."""
        defence.check(model)
        self.model, self.defence, self.max_new_tokens = model, defence.on_canvas(model.canvas), max_new_tokens
        self._watch: Watch | None = None
        if alignment := self.defence.alignment:
            self._watch = Watch(alignment, threshold=float("inf"))

    def ask(self, image: Image.Image, question: str) -> tuple[Answered, Answered]:
        """The undefended answer and the defended one. Raises InputError for an empty question."""
        check_question(question, "the question")
        query = Query("the page", image, question)
        return self._answer(query, Undefended()), self._answer(query, self.defence)

    def preview(self, image: Image.Image, question: str) -> Image.Image:
        """The RGB image behind the defence, or behind what stands after a gate."""
        shown = (self.defence.inner or self.defence).preview(Query("the page", image, question))
        return open_image(shown.image)

    @property
    def says_of_projections(self) -> str:
        """What a projection means behind this defence, in a sentence; empty where it brings no direction."""
        if isinstance(self.defence, Gate):
            watch = self.defence.watch
            return f"{_where(watch.probe)}. The gate lets through what projects at {watch.threshold:.3f} or below."
        if self.defence.alignment is None or self.defence.thresholds is None:
            return ""
        above, below = self.defence.thresholds
        return (
            f"{_where(self.defence.alignment)}. The defence was made to bring malicious queries above "
            f"{above:.3f}, and benign ones below {below:.3f}."
        )

    def _answer(self, query: Query, defence: Defence) -> Answered:
        projections: list[float | None] = []

        async def send(request: Request, limit: int | None) -> Response:
            watched = replace(request, watch=request.watch or self._watch)
            response = self.model.respond([watched], limit or self.max_new_tokens)[0]
            projections.append(response.projection)
            return response

        exchange = Exchange(send)
        begun = time.perf_counter()
        text = run_coroutine(defence.answer(query, exchange))
        seconds = time.perf_counter() - begun
        return Answered(text, seconds, exchange.cost, projections[0] if projections else None)


def table_of(undefended: Answered, defended: Answered) -> list[list[str]]:
    """What both answers took, a row for each figure: its name, undefended, defended."""
    rows: list[tuple[str, Callable[[Answered], str]]] = [
        ("projection", lambda a: "-" if a.projection is None else f"{a.projection:.3f}"),
        ("seconds", lambda a: f"{a.seconds:.2f}"),
        ("calls of the model", lambda a: str(a.cost.calls)),
        ("tokens read", lambda a: str(a.cost.input_tokens)),
        ("tokens written", lambda a: str(a.cost.output_tokens)),
    ]
    return [[name, shown(undefended), shown(defended)] for name, shown in rows]


def _where(probe: Probe) -> str:
    """Where a probe reads, as a sentence begins."""
    return str(probe).capitalize()
