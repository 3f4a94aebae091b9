"""Benchmarks whose official score is made of points that a language model gives to every answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from davsp.data.query import REFERENCE, Query
from davsp.judges.cost import JudgingCost, cost_of_calls
from davsp.judges.prompting import Message, digest, length, tagged


@dataclass(frozen=True)
class GradedAnswer:
    """What a grader may read: the answer, its question, the reference answer, and a caption of the image."""

    question: str
    reference: str
    answer: str
    caption: str = ""


@dataclass(frozen=True)
class Grader:
    """How one benchmark's answers get their points.

    `scorer_name` is the name of its scores in Inspect's logs, `marks` are the names of the points; a score that is one
    number is the only mark. The model is sent `rubric`, and the `sections` of an answer, texts by name. `parse` reads
    the points, in the order of `marks`, from a reply; None unless it is exactly in the form asked for. `empty` are the
    points of an answer without any text; None where it gets none, and is unscored.
    """

    scorer_name: str
    marks: tuple[str, ...]
    rubric: str
    sections: Callable[[GradedAnswer], Mapping[str, str]]
    parse: Callable[[str], Sequence[float] | None]
    reply_tokens: int
    empty: tuple[float, ...] | None = None

    def prompt(self, answer: GradedAnswer) -> list[Message]:
        """What the model is sent."""
        texts = (tagged(name, text) for name, text in self.sections(answer).items())
        return [Message("system", self.rubric), Message("user", "\n\n".join(texts))]

    @property
    def prompt_digest(self) -> str:
        """Tells the prompt of this grader from any other's."""
        return digest(*(message.text for message in self.prompt(GradedAnswer("?", "", "!"))))

    def cost(self, model: str, queries: Sequence[Query], answer: str) -> JudgingCost:
        """Of grading an answer to every query, each as long as `answer`."""
        answers = (
            GradedAnswer(q.question, q.metadata.get(REFERENCE, ""), answer, q.metadata.get("caption", ""))
            for q in queries
        )
        return cost_of_calls("Grader", model, [length(self.prompt(a)) for a in answers], self.reply_tokens)
