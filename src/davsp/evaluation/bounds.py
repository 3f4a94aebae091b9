"""Bounds that measures are held to, so that a build fails where a defence falls behind them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

from davsp.errors import InputError
from davsp.judges.rates import UNSCORED_LIMIT, pooled
from davsp.rates import Figure, Measure, Rate, Rates
from davsp.results import UNDEFENDED, Results

_MEAN = "token_f1"
MEASURES = (*(measure.value for measure in Measure), _MEAN)
"""What can be bounded, by the names that results.json has for it."""


@dataclass(frozen=True)
class Bound:
    """A measure may not be under a bound, or not over it, behind one defence or behind all but the undefended model."""

    measure: str
    limit: float
    """In 0..1."""
    is_least: bool
    """Whether the bound is the least that passes; else it is the most."""
    defence: str | None = None

    @classmethod
    def parse(cls, text: str, *, is_least: bool) -> Self:
        """The bound that MEASURE=BOUND or DEFENCE:MEASURE=BOUND stands for. Raises InputError for anything else."""
        option = "--fail-under" if is_least else "--fail-over"
        left, equals, number = text.rpartition("=")
        defence, _, measure = left.rpartition(":")
        if not equals:
            raise InputError(f"{option} {text!r}: write MEASURE=BOUND, such as rsr=0.95, or DEFENCE:MEASURE=BOUND.")
        if measure.strip() not in MEASURES:
            raise InputError(f"{option} {text!r}: there is no measure {measure!r}. There are {', '.join(MEASURES)}.")
        try:
            bound = float(number)
        except ValueError:
            bound = -1.0
        if not 0 <= bound <= 1:
            raise InputError(f"{option} {text!r}: {number!r} is no bound. Measures are shares: give one from 0 to 1.")
        return cls(measure.strip(), bound, is_least, defence.strip() or None)

    def __str__(self) -> str:
        where = f"{self.defence}:" if self.defence else ""
        return f"{where}{self.measure} {'>=' if self.is_least else '<='} {self.limit:g}"

    def check_defences(self, names: Sequence[str]) -> None:
        """Raise InputError where none of the defences of these names is held to it."""
        if self.defence is not None and self.defence not in names:
            raise InputError(
                f"{self}: no defence {self.defence!r} is evaluated. Give one of {', '.join(names)}, or none of them, "
                "to hold every defence to the bound."
            )
        if not self._held(names):
            raise InputError(
                f"{self}: no defence is evaluated that it could hold for. Give a --defence, or name the undefended "
                f"model: {UNDEFENDED}:{self.measure}={self.limit:g}."
            )

    def failures(self, results: Sequence[Results]) -> Iterator[str]:
        """A line for each defence that does not pass: on one of several sets of queries, or on none of which the
        measure was measured. Whether a set has queries that the measure is taken over is for the set to say; where it
        has them, and more than UNSCORED_LIMIT of the answers have no verdict, the bound fails."""
        for name in self._held(list(results[0].defences)):
            found = [_measured(result.defences[name], self.measure) for result in results]
            asked = [each for each in found if each is not None]
            if not asked:
                yield f"{name}: {self.measure} was not measured, and must be: {self}"
            for each in asked:
                value = each.rate if isinstance(each, Rate) else each.value
                if isinstance(each, Rate) and each.n and each.unscored > UNSCORED_LIMIT * (each.n + each.unscored):
                    yield (
                        f"{name}: {self.measure} is of {each.n} answers, and {each.unscored} more have no verdict, "
                        f"more than {UNSCORED_LIMIT:.0%}; it must be: {self}"
                    )
                elif value is None:
                    yield f"{name}: {self.measure} has no answer with a verdict, and must be: {self}"
                elif value < self.limit if self.is_least else value > self.limit:
                    yield f"{name}: {self.measure} is {_shown(value, each)}, and must be: {self}"

    def _held(self, names: Sequence[str]) -> list[str]:
        """Those of the defences that are held to it."""
        if self.defence is not None:
            return [self.defence]
        return [name for name in names if name != UNDEFENDED]


def _measured(rates: Rates, measure: str) -> Rate | Figure | None:
    """All kinds of query together; None where no query is one that the measure is taken over."""
    if measure == _MEAN:
        return rates.token_f1.get("all")
    return pooled(rates[Measure(measure)].values())


def _shown(value: float, of: Rate | Figure) -> str:
    interval = "" if of.low is None or of.high is None else f" [{of.low:.3f}, {of.high:.3f}]"
    return f"{value:.3f}{interval} (n={of.n})"
