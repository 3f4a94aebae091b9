"""By which rule the answer to each query is compared with its reference: decided before anything is asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from davsp.benchmarks.base import Benchmark
from davsp.data.query import Query
from davsp.errors import InputError
from davsp.judges import Judge
from davsp.judges.llm import LLM
from davsp.judges.scoring import AUTO, GRADER, SHORT, check_scoring, scoring_for


@dataclass(frozen=True)
class ScoredQueries:
    """Queries whose every reference has its rule; others have theirs in the metadata alone. `long` counts those that
    are too long for a rule."""

    queries: tuple[Query, ...]
    long: int = 0

    @property
    def rules(self) -> dict[str, int]:
        """How many benign queries are scored by each rule."""
        return dict(
            Counter(query.scoring for query in self.queries if query.answer is not None and not query.malicious)
        )

    @property
    def identity(self) -> str:
        """All that the rules make of the answers."""
        return repr([query.scoring for query in self.queries])

    @property
    def remarks(self) -> tuple[str, ...]:
        """What a user must know of the rules."""
        if not self.long:
            return ()
        return (
            f"Not compared with their references: {self.long} of the queries' answers. References of more than {SHORT} "
            f"words are compared by a language model alone (--judge llm --judge-model {LLM.example}).",
        )


def with_scoring(
    queries: Sequence[Query], scoring: str, judge: Judge, benchmark: Benchmark | None = None
) -> ScoredQueries:
    """The queries with their rules: a query's own, or `scoring`, or `benchmark`'s, whose name is then the rule's.

    Raises InputError for a rule that there is not, a reference that its rule cannot use, and for the rule "grader"
    where the judge is no language model.
    """
    check_scoring(scoring)
    if benchmark is not None:
        return ScoredQueries(tuple(q if q.answer is None else replace(q, scoring=benchmark.name) for q in queries))
    scored, long = [], 0
    graded = judge.grading_model is not None
    for query in queries:
        if query.malicious or query.answer is None:
            scored.append(query)
            continue
        rule = query.scoring or scoring
        try:
            check_scoring(rule, query.answer)
        except InputError as error:
            raise InputError(f"query {query.id}: {error}") from error
        if rule == GRADER and not graded:
            raise InputError(
                f"query {query.id} is scored by a language model, and none is bound. Give one: --judge llm "
                f"--judge-model {LLM.example}"
            )
        chosen = scoring_for(query.answer, graded=graded) if rule == AUTO else rule
        long += chosen is None
        scored.append(query.without_answer() if chosen is None else replace(query, scoring=chosen))
    return ScoredQueries(tuple(scored), long)
