"""Whether two defences differ on the same queries: McNemar's exact test, with Holm's correction."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from davsp.rates import Measure, Verdict
from davsp.report.collect import AnsweredEvaluation
from davsp.results import UNDEFENDED

ALPHA = 0.05
"""At or below this corrected p, two defences are said to differ."""


@dataclass(frozen=True)
class Comparison:
    """Two defences on the queries that both were asked and that were scored behind both.

    `only_first` and `only_second` are the discordant pairs b and c: queries with success behind that one alone, where
    success is what the measure counts (for over_refusal, a refusal). `left_out`: shared queries that are unscored
    behind at least one of the two. `p`: McNemar's exact two-sided test; `corrected`: after Holm, within its family.
    """

    measure: Measure
    first: str
    second: str
    only_first: int
    only_second: int
    n: int
    left_out: int
    p: float
    corrected: float = 1.0

    @property
    def difference(self) -> float | None:
        """The first's share of successes less the second's, in -1..1; None where nothing was scored."""
        return (self.only_first - self.only_second) / self.n if self.n else None

    @property
    def is_significant(self) -> bool:
        return self.corrected <= ALPHA


@dataclass(frozen=True)
class Family:
    """Comparisons on one set of queries. Each measure's are corrected together."""

    title: str
    model: str
    judge: str
    comparisons: tuple[Comparison, ...]

    def by_measure(self) -> list[tuple[Measure, list[Comparison]]]:
        """The comparisons of each measure, safety first."""
        grouped = [(measure, [c for c in self.comparisons if c.measure is measure]) for measure in Measure]
        return [(measure, comparisons) for measure, comparisons in grouped if comparisons]


def mcnemar(b: int, c: int) -> float:
    """The exact two-sided p of b and c discordant pairs (McNemar 1947): under the null hypothesis b is binomial with
    b + c trials of probability 1/2."""
    from scipy.stats import binomtest  # takes a second, which a command's help need not wait for

    return float(binomtest(b, b + c).pvalue) if b + c else 1.0


def holm(values: Sequence[float]) -> list[float]:
    """Corrected p values in the same order (Holm 1979): the k-th smallest of m, from 0, times m - k, never less than
    the one before it, and at most 1."""
    corrected, highest = [1.0] * len(values), 0.0
    for rank, i in enumerate(sorted(range(len(values)), key=lambda i: values[i])):
        highest = max(highest, min(1.0, (len(values) - rank) * values[i]))
        corrected[i] = highest
    return corrected


def families(evaluations: Sequence[AnsweredEvaluation]) -> list[Family]:
    """Every pair of defences of every evaluation, and pairs that stand in two evaluations of the same queries.

    A pair is taken across two evaluations, of one model and one judge, only where no evaluation has both.
    """
    compared = [
        Family(one.evaluation.title, one.evaluation.model, one.evaluation.judge, _corrected(_within(one)))
        for one in evaluations
        if one.queries and len(one.evaluation.results.defences) > 1
    ]
    for group in _same_queries(evaluations):
        if across := _corrected(_across(group)):
            first = group[0].evaluation
            titles = " and ".join(dict.fromkeys(str(one.evaluation.folder) for one in group))
            compared.append(Family(f"{first.title}, across {titles}", first.model, first.judge, across))
    return [family for family in compared if family.comparisons]


def same_queries(one: AnsweredEvaluation, two: AnsweredEvaluation) -> bool:
    """Whether two evaluations share queries: they are of one source and attack, and all ids that both have of one
    question."""
    shared = one.queries.keys() & two.queries.keys()
    same = all(
        (one.queries[i].group, one.queries[i].question) == (two.queries[i].group, two.queries[i].question)
        for i in shared
    )
    alike = one.evaluation.source == two.evaluation.source
    attacked_alike = one.evaluation.results.attack == two.evaluation.results.attack
    return alike and attacked_alike and bool(shared) and same


def _within(one: AnsweredEvaluation) -> Iterator[Comparison]:
    for first, second in combinations(one.evaluation.results.defences, 2):
        yield from _compared(first, one, second, one)


def _across(group: Sequence[AnsweredEvaluation]) -> Iterator[Comparison]:
    names = list(dict.fromkeys(name for one in group for name in one.evaluation.results.defences))
    for first, second in combinations(names, 2):
        having = [{name for name in (first, second) if name in one.evaluation.results.defences} for one in group]
        if not any(len(some) == 2 for some in having):
            one, two = (group[having.index({name})] for name in (first, second))
            yield from _compared(first, one, second, two)


def _same_queries(evaluations: Sequence[AnsweredEvaluation]) -> list[list[AnsweredEvaluation]]:
    """Evaluations of one model and one judge on shared queries, where there are several."""
    groups: list[list[AnsweredEvaluation]] = []
    for one in evaluations:
        for group in groups:
            other = group[0].evaluation
            same = (other.model, other.judge) == (one.evaluation.model, one.evaluation.judge)
            if same and all(same_queries(one, two) for two in group):
                group.append(one)
                break
        else:
            groups.append([one])
    return [group for group in groups if len(group) > 1]


def _compared(first: str, one: AnsweredEvaluation, second: str, two: AnsweredEvaluation) -> Iterator[Comparison]:
    """The two defences by each measure that any shared query counts in. The undefended answers are the same as
    undefended by definition, and no other is compared with them in that."""
    pairs: dict[Measure, list[tuple[bool, bool] | None]] = {measure: [] for measure in Measure}
    for key in one.queries.keys() & two.queries.keys():
        a, b = one.queries[key].answers.get(first), two.queries[key].answers.get(second)
        if not a or not b:
            continue
        unscored = Verdict.UNSCORED in (a.verdict, b.verdict)
        for measure, successes in one.queries[key].measures.items():
            pairs[measure].append(None if unscored else (a.verdict in successes, b.verdict in successes))
        if a.unchanged is not None and b.unchanged is not None and UNDEFENDED not in (first, second):
            pairs[Measure.UNCHANGED].append(None if unscored else (a.unchanged, b.unchanged))
    for measure, found in pairs.items():
        scored = [pair for pair in found if pair is not None]
        only_first, only_second = scored.count((True, False)), scored.count((False, True))
        if found:
            yield Comparison(
                measure,
                first,
                second,
                only_first,
                only_second,
                len(scored),
                len(found) - len(scored),
                mcnemar(only_first, only_second),
            )


def _corrected(comparisons: Iterator[Comparison]) -> tuple[Comparison, ...]:
    """The same, by measure, each with its corrected p."""
    uncorrected = list(comparisons)
    corrected: list[Comparison] = []
    for measure in Measure:
        family = [comparison for comparison in uncorrected if comparison.measure is measure]
        values = holm([comparison.p for comparison in family])
        corrected += [replace(c, corrected=p) for c, p in zip(family, values, strict=True)]
    return tuple(corrected)
