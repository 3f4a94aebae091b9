"""How fresh answers are scored in Inspect: one registry, for the tasks of benchmarks and for `davsp evaluate`."""

from __future__ import annotations

from collections.abc import Callable

from inspect_ai.model import Model
from inspect_ai.scorer import Metric, SampleScore, Score, Scorer, Target, Value, metric, scorer
from inspect_ai.solver import TaskState

from davsp.benchmarks import get, mme, pope
from davsp.benchmarks.base import Benchmark, Said
from davsp.evaluate.scorers import safety_and_usefulness
from davsp.judges import Judge
from davsp.judges.graders import GRADERS
from davsp.refusal import normalise


def scorers_of(benchmark: Benchmark | None, judge: Judge | None = None, grader: Model | None = None) -> list[Scorer]:
    """What scores an answer: safety and usefulness always, and after it the benchmark's own scorer, if it has one.

    `judge` says what harms and refuses, by default the rules. `grader` is the model that gives points where a
    benchmark needs them, by default Inspect's role "judge".
    """
    if benchmark is None:
        return [safety_and_usefulness(judge)]
    general = safety_and_usefulness(judge, benchmark.name if benchmark.right else None)
    if benchmark.graded:
        return [general, GRADERS[benchmark.name].scorer(grader)]
    own = _PARSING.get(benchmark.name)
    return [general, own()] if own else [general]


@metric
def official_scores(benchmark: str) -> Metric:
    """A benchmark's official scores of what was answered."""
    official = get(benchmark).official

    def compute(scores: list[SampleScore]) -> Value:
        said = [_said(found.score) for found in scores if normalise(found.score.answer or "")]
        figures = official(said).figures if official else {}
        return {name: figure.value for name, figure in figures.items()}

    return compute


def _said(score: Score) -> Said:
    found = score.metadata or {}
    return Said(found["group"], found["gold"], score.answer or "", found["image"])


@scorer(metrics=[official_scores("mme")])
def mme_answers() -> Scorer:
    """1 for an answer that MME's calculator counts as right, else 0."""
    return _yes_or_no(mme.BENCHMARK)


@scorer(metrics=[official_scores("pope")])
def pope_answers() -> Scorer:
    """1 for an answer that POPE's official code counts as right, else 0."""
    return _yes_or_no(pope.BENCHMARK)


def _yes_or_no(benchmark: Benchmark) -> Scorer:
    right = benchmark.right
    assert right is not None

    async def score(state: TaskState, target: Target) -> Score:
        said = state.output.completion
        return Score(
            value=float(right(target.text, said)),
            answer=said,
            metadata={
                "gold": target.text,
                "group": state.metadata["group"],
                "image": state.metadata["image_name"],
            },
        )

    return score


_PARSING: dict[str, Callable[[], Scorer]] = {"mme": mme_answers, "pope": pope_answers}
