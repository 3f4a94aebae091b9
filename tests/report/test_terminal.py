"""The tables in a terminal."""

import io

import pytest
from rich.console import Console

from davsp.rates import Figure, Rate
from davsp.report.terminal import print_table
from tests.report.one_evaluation import RATES, RESULTS


def test_the_terminal_table_shows_every_measure_and_the_unscored() -> None:
    stream = io.StringIO()
    print_table(RESULTS, Console(file=stream, width=160))
    shown = stream.getvalue()
    for part in (
        "97.6 % [94.4, 99.0] n=205 (2 unscored)",
        "no score (4 unscored)",
        "99.0 %",
        "1.0 %",
        "6 answers are unscored",
    ):
        assert part in shown


@pytest.mark.parametrize("compared", [False, True])
@pytest.mark.parametrize("width", [80, 200])
def test_every_defence_has_one_row_and_no_interval_is_broken(width: int, compared: bool) -> None:
    stream = io.StringIO()
    names = [f"defence{i}" for i in range(6)]
    more = {"unchanged": {"sd": Rate.of(50, 100)}, "token_f1": {"all": Figure.mean([0.5, 0.7])}} if compared else {}
    defences, unscored = dict.fromkeys(names, RATES.model_copy(update=more)), dict.fromkeys(names, 0)
    many = RESULTS.model_copy(update={"defences": defences, "unscored": unscored, "cost": {}})
    print_table(many, Console(file=stream, width=width))
    lines = stream.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    assert [n for line in lines for n in line.split() if n in names] == names
    for interval in ("[94.4, 99.0]", "[94.6, 99.8]", "[0.2, 5.4]"):
        assert sum(interval in line for line in lines) == len(names)
    assert sum("F1 0.600" in line for line in lines) == len(names) * compared


def test_terminal_markup_in_names_is_printed_as_it_is() -> None:
    stream = io.StringIO()
    name = "[red]x[/red]"
    named = RESULTS.model_copy(update={"defences": {name: RATES}, "unscored": {name: 0}, "cost": {}})
    print_table(named, Console(file=stream, width=160))
    assert "[red]x[/red]" in stream.getvalue()
