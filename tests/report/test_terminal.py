"""The tables in a terminal."""

import io

import pytest
from rich.console import Console

from davsp.report.terminal import print_table
from tests.report.one_evaluation import RATES, RESULTS


def test_the_terminal_table_shows_every_measure_and_the_unscored() -> None:
    stream = io.StringIO()
    print_table(RESULTS, Console(file=stream, width=160))
    shown = stream.getvalue()
    for part in (
        "98.5 % [95.7, 99.5] n=200",
        "no score (4 unscored)",
        "99.0 %",
        "1.0 %",
        "6 answers are unscored",
    ):
        assert part in shown


@pytest.mark.parametrize("width", [80, 200])
def test_the_terminal_table_breaks_between_defences_and_never_within_a_rate(width: int) -> None:
    stream = io.StringIO()
    names = [f"defence{i}" for i in range(6)]
    defences, unscored = dict.fromkeys(names, RATES), dict.fromkeys(names, 0)
    many = RESULTS.model_copy(update={"defences": defences, "unscored": unscored, "cost": {}})
    print_table(many, Console(file=stream, width=width))
    lines = stream.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    assert [n for line in lines for n in line.split() if n in names] == names
    assert sum(line.count("98.5 % [95.7, 99.5] n=200") for line in lines) >= len(names)


def test_terminal_markup_in_names_is_printed_as_it_is() -> None:
    stream = io.StringIO()
    name = "[red]x[/red]"
    named = RESULTS.model_copy(update={"defences": {name: RATES}, "unscored": {name: 0}, "cost": {}})
    print_table(named, Console(file=stream, width=160))
    assert "[red]x[/red]" in stream.getvalue()
