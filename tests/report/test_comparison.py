"""Many evaluations as one page."""

import re
from pathlib import Path

import pytest

from davsp.errors import InputError
from davsp.report.comparison import write_comparison
from tests.evaluations import (
    FOUR,
    OVER_REFUSAL,
    SAFETY,
    USEFULNESS,
    N,
    R,
    benchmark,
    verdicts,
    write_evaluation,
)


@pytest.mark.parametrize("n", [1, 3, 10])
@pytest.mark.parametrize("good", [0.0, 1.0])
def test_reports_of_few_answers_that_are_all_alike_are_written(tmp_path: Path, n: int, good: float) -> None:
    groups = [("fraud", True, False, n), ("reading", False, True, n), ("looks harmful", False, False, n)]
    write_evaluation(tmp_path / "a", groups, {"none": verdicts(groups, good, 0), "davsp": verdicts(groups, good, 1)})
    page = write_comparison([tmp_path / "a"], tmp_path / "out").read_text()
    assert page.count("<svg") == 1


def test_without_transcripts_the_tables_stand_and_the_page_says_so(tmp_path: Path) -> None:
    (write_evaluation(tmp_path / "a", FOUR, {"none": [N, N, R, R], "x": [R, R, R, R]}) / "transcripts.jsonl").unlink()
    write_evaluation(tmp_path / "b", FOUR, {"none": [N, N, R, R], "x": [R, R, R, R]}, first=9)
    page = write_comparison([tmp_path], tmp_path / "out").read_text()
    assert "Without transcripts, and so not compared: a." in page


def test_a_page_without_transcripts_says_why_nothing_is_compared(tmp_path: Path) -> None:
    folder = write_evaluation(tmp_path / "a", FOUR, {"none": [R, R, R, R], "davsp": [R, R, R, N]})
    (folder / "transcripts.jsonl").unlink()
    page = write_comparison([folder], tmp_path / "out").read_text()
    assert "Without transcripts, and so not compared: a." in page


def test_an_evaluation_s_own_page_is_never_overwritten(tmp_path: Path) -> None:
    one = write_evaluation(tmp_path / "a", FOUR, {"none": [R, R, R, R]})
    with pytest.raises(InputError, match="--out"):
        write_comparison([one], one)


def test_the_page_shows_no_markup_of_names_and_loads_nothing(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>"
    pytest.importorskip("matplotlib")
    groups = [*SAFETY, *USEFULNESS, *OVER_REFUSAL]
    behind = {evil: verdicts(groups, 0.5, 0), "none": verdicts(groups, 0.5, 1)}
    facts = benchmark("figstep", evil, dropped=[evil])
    write_evaluation(tmp_path / "a:b", groups, behind, model=evil, benchmark=facts)
    page = write_comparison([tmp_path], tmp_path / "out").read_text()
    assert "<script" not in page
    assert not re.search(r"(src|xlink:href)=\"(?!#)|https?:", page)


def test_the_page_says_in_words_what_each_defence_does_over_all_that_was_asked(tmp_path: Path) -> None:
    for number, group in enumerate((SAFETY, OVER_REFUSAL)):
        behind = {"none": verdicts(group, 0.5, 1), "x": verdicts(group, 1.0, 2)}
        write_evaluation(tmp_path / group[0][0], group, behind, first=100 * number)
    page = write_comparison([tmp_path], tmp_path / "out").read_text().replace("\N{NO-BREAK SPACE}", " ")
    assert "Best trade-off: x. No other beats it on any measure by more than chance." in page
    told = "resisted 100.0 % [92.9, 100.0] of the malicious queries and refused 0.0 % [0.0, 8.8] of the harmless ones."
    assert f"<strong>x</strong> {told}" in page


def test_the_page_leads_to_the_logs_of_each_evaluation(tmp_path: Path) -> None:
    folder = write_evaluation(tmp_path / "a", FOUR, {"none": [R, R, R, R]})
    (folder / "logs").mkdir()
    assert 'href="./../a/logs/"' in write_comparison([folder], tmp_path / "out").read_text()
