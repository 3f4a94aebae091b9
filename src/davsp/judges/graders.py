"""Language models that give points to an answer, for benchmarks whose official score is made of points."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from inspect_ai.model import ChatMessage, Model
from inspect_ai.scorer import Scorer

from davsp.data.query import Query
from davsp.judges import llava_bench, mm_vet
from davsp.judges.asking import digest
from davsp.judges.cost import CHARACTERS, JudgingCost


@dataclass(frozen=True)
class Grader:
    """How one benchmark's answers get their points.

    `scorer` takes the model. Its scores have `marks`: names of points; a score that is one number is the first of them.
    `prompt` is what the model reads of a query and an answer.
    """

    scorer: Callable[[Model | None], Scorer]
    scorer_name: str
    marks: tuple[str, ...]
    prompt: Callable[[Query, str], Sequence[ChatMessage]]
    reply_tokens: int

    @property
    def prompt_digest(self) -> str:
        """Tells the prompt of this grader from any other's."""
        blank = Query("", b"", "?")
        return digest(*(message.text for message in self.prompt(blank, "!")))

    def cost(self, model: str, queries: Sequence[Query], answer: str) -> JudgingCost:
        """Of grading an answer to every query, each as long as `answer`."""
        lengths = [sum(len(message.text) for message in self.prompt(query, answer)) for query in queries]
        tokens = sum(-(-length // CHARACTERS) for length in lengths)
        return JudgingCost("Grader", model, len(queries), tokens, len(queries) * self.reply_tokens)


def _grading(query: Query, answer: str) -> Sequence[ChatMessage]:
    return mm_vet.grading_prompt(query.question, query.metadata.get("reference", ""), answer)


def _review(query: Query, answer: str) -> Sequence[ChatMessage]:
    told = query.metadata
    return llava_bench.review_prompt(told.get("caption", ""), query.question, told.get("reference", ""), answer)


GRADERS: Mapping[str, Grader] = MappingProxyType(
    {
        "mm_vet": Grader(mm_vet.mm_vet_grade, "mm_vet_grade", ("grade",), _grading, mm_vet.REPLY_TOKENS),
        "llava_bench": Grader(
            llava_bench.llava_bench_review,
            "llava_bench_review",
            ("reference", "answer"),
            _review,
            llava_bench.REPLY_TOKENS,
        ),
    }
)
"""By the benchmark's name."""
