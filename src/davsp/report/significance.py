"""Whether two defences differ on the same queries: McNemar's exact test, with Holm's correction."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from davsp.judges.rates import MEASURES, Verdict
from davsp.report.collect import AnsweredQuery, Evaluation

ALPHA = 0.05
"""At or below this corrected p, two defences are said to differ."""

Told = tuple[Evaluation, Mapping[str, AnsweredQuery]]
"""An evaluation, and its queries and their answers by id."""


@dataclass(frozen=True)
class Comparison:
    """Two defences on the queries that both were asked and that were scored behind both.

    `only_first` and `only_second` are the discordant pairs b and c: queries with success behind that one alone, where
    success is what the measure counts (for over_refusal, a refusal). `left_out`: shared queries that are unscored
    behind at least one of the two. `p`: McNemar's exact two-sided test; `corrected`: after Holm, within its family.
    """

    measure: str
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

    def by_measure(self) -> list[tuple[str, list[Comparison]]]:
        """The comparisons of each measure, safety first."""
        found = [(measure, [c for c in self.comparisons if c.measure == measure]) for measure in MEASURES]
        return [(measure, comparisons) for measure, comparisons in found if comparisons]


def mcnemar(b: int, c: int) -> float:
    """The exact two-sided p of b and c discordant pairs (McNemar 1947): under the null hypothesis b is binomial with
    b + c trials of probability 1/2, and p = min(1, 2 P(X <= min(b, c)))."""
    n, total, term = b + c, 0, 1
    for i in range(min(b, c) + 1):
        total += term
        term = term * (n - i) // (i + 1)
    return min(1.0, 2 * total / (1 << n))


def holm(values: Sequence[float]) -> list[float]:
    """Corrected p values in the same order (Holm 1979): the k-th smallest of m, from 0, times m - k, never less than
    the one before it, and at most 1."""
    corrected, highest = [1.0] * len(values), 0.0
    for rank, i in enumerate(sorted(range(len(values)), key=lambda i: values[i])):
        highest = max(highest, min(1.0, (len(values) - rank) * values[i]))
        corrected[i] = highest
    return corrected


def families(told: Sequence[Told]) -> list[Family]:
    """Every pair of defences of every evaluation, and pairs that stand in two evaluations of the same queries.

    A pair is taken across two evaluations, of one model and one judge, only where no evaluation has both.
    """
    found = [
        Family(e.title, e.model, e.judge, _corrected(_within((e, queries))))
        for e, queries in told
        if queries and len(e.results["defences"]) > 1
    ]
    for group in _same_queries(told):
        if across := _corrected(_across(group)):
            first = group[0][0]
            titles = " and ".join(dict.fromkeys(str(e.folder) for e, _ in group))
            found.append(Family(f"{first.title}, across {titles}", first.model, first.judge, across))
    return [family for family in found if family.comparisons]


def same_queries(one: Told, two: Told) -> bool:
    """Whether two evaluations share queries: they are of one source, and all ids that both have of one question."""
    (first, asked), (second, again) = one, two
    shared = asked.keys() & again.keys()
    same = all((asked[i].group, asked[i].question) == (again[i].group, again[i].question) for i in shared)
    return first.source == second.source and bool(shared) and same


def _within(told: Told) -> Iterator[Comparison]:
    for first, second in combinations(told[0].results["defences"], 2):
        yield from _compared(first, told, second, told)


def _across(group: Sequence[Told]) -> Iterator[Comparison]:
    names = list(dict.fromkeys(name for e, _ in group for name in e.results["defences"]))
    for first, second in combinations(names, 2):
        having = [{name for name in (first, second) if name in e.results["defences"]} for e, _ in group]
        if not any(len(some) == 2 for some in having):
            one, two = (group[having.index({name})] for name in (first, second))
            yield from _compared(first, one, second, two)


def _same_queries(told: Sequence[Told]) -> list[list[Told]]:
    """Evaluations of one model and one judge on shared queries, where there are several."""
    groups: list[list[Told]] = []
    for one in told:
        for group in groups:
            other = group[0][0]
            same = (other.model, other.judge) == (one[0].model, one[0].judge)
            if same and all(same_queries(one, two) for two in group):
                group.append(one)
                break
        else:
            groups.append([one])
    return [group for group in groups if len(group) > 1]


def _compared(first: str, one: Told, second: str, two: Told) -> Iterator[Comparison]:
    """The two defences by each measure that any shared query counts in."""
    pairs: dict[str, list[tuple[Verdict, Verdict, Verdict]]] = {measure: [] for measure in MEASURES}
    for key in one[1].keys() & two[1].keys():
        said, answered = one[1][key].answers.get(first), two[1][key].answers.get(second)
        if said and answered:
            for measure, success in one[1][key].measures.items():
                pairs[measure].append((success, said.verdict, answered.verdict))
    for measure, found in pairs.items():
        scored = [(a is success, b is success) for success, a, b in found if Verdict.UNSCORED not in (a, b)]
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


def _corrected(found: Iterator[Comparison]) -> tuple[Comparison, ...]:
    """The same, by measure, each with its corrected p."""
    every = list(found)
    result: list[Comparison] = []
    for measure in MEASURES:
        family = [comparison for comparison in every if comparison.measure == measure]
        values = holm([comparison.p for comparison in family])
        result += [replace(c, corrected=p) for c, p in zip(family, values, strict=True)]
    return tuple(result)
