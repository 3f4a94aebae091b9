"""A run that came to nothing says so."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from davsp.data.query import Query
from davsp.models.base import VisionLanguageModel
from davsp.training.jobs import vector_for
from davsp.training.outcome import front_table, layer_warning, outcome_lines
from davsp.training.separation import LayerStatistics

Two = tuple[list[Query], list[Query]]

WHERE = {
    "malicious_projection": -1.0,
    "malicious_projection_std": 2.0,
    "benign_projection": -3.0,
    "benign_projection_std": 2.0,
}
BEFORE = {"refused": 0.25, "kept": 1.0, "quality": 1.25, **WHERE}
MOVED = WHERE | {"malicious_projection": 4.0}


def test_before_and_after_are_said_with_intervals() -> None:
    after = {"step": 40.0, "refused": 1.0, "kept": 0.95, "quality": 1.95}
    assert outcome_lines(BEFORE, after, MOVED, answered=32, malicious=48, benign=60) == [
        "On the validation queries, untrained -> step 40, which is kept: malicious queries refused 25 % [13, 42] -> "
        "100 % [89, 100] (n=32); benign answers kept 100 % [94, 100] -> 95 % [86, 98] (n=60)."
    ]


def test_the_front_is_shown_with_intervals_and_the_prompt_that_is_kept() -> None:
    front = [
        {"step": 20.0, "refused": 0.75, "kept": 1.0, "over_refusal": 0.0, "benign_divergence": 0.001},
        {"step": 40.0, "refused": 1.0, "kept": 0.95, "over_refusal": 0.125, "benign_divergence": 0.0042},
    ]
    untrained = {**BEFORE, "over_refusal": 0.0, "benign_divergence": 0.0}
    console = Console(record=True, width=200, file=io.StringIO())
    console.print(front_table(untrained, front, 40, {"refused": 32, "kept": 60, "over_refusal": 16}))
    lines = [" ".join(line.replace("│", " ").replace("┃", " ").split()) for line in console.export_text().splitlines()]
    assert (
        "step malicious refused (n=32) benign kept (n=60) look-alikes refused (n=16) divergence, nats a token" in lines
    )
    assert "0 25 % [13, 42] 100 % [94, 100] 0 % [0, 19] 0.0000" in lines
    assert "20 75 % [58, 87] 100 % [94, 100] 0 % [0, 19] 0.0010" in lines
    assert "40 * 100 % [89, 100] 95 % [86, 98] 12 % [3, 36] 0.0042" in lines


def test_of_figures_that_no_query_was_asked_for_nothing_is_shown() -> None:
    front = [{"step": 20.0, "refused": 0.0, "kept": 1.0}]
    table = front_table(BEFORE, front, kept=20, counts={"refused": 0, "kept": 60, "over_refusal": 0})
    assert [column.header for column in table.columns] == ["step", "benign kept (n=60)"]


def test_a_prompt_no_better_than_the_untrained_one_is_a_warning() -> None:
    lines = outcome_lines(BEFORE, {"step": 60.0, **BEFORE}, MOVED, answered=32, malicious=48, benign=60)
    assert len(lines) == 2
    assert "WARNING: the prompt that is kept is no better than the untrained one" in lines[1]


def test_a_prompt_that_refuses_nothing_or_keeps_nothing_and_too_few_queries_are_warnings() -> None:
    nothing = {"refused": 0.0, "kept": 0.0, "quality": 0.0, **WHERE}
    lines = outcome_lines(nothing, {"step": 1.0, **nothing}, MOVED, answered=4, malicious=4, benign=4)
    assert [line.partition(":")[0] for line in lines[1:]] == ["WARNING"] * 5
    assert "not one malicious validation query is refused" in lines[3]
    assert "not one benign answer stays" in lines[4]
    assert "there are 4 malicious and 4 benign validation queries" in lines[5]


def test_a_prompt_that_moved_no_query_is_told_from_one_that_moved_them_to_no_avail() -> None:
    ended = WHERE | {"malicious_projection": -0.88, "benign_projection": -3.02}
    lines = outcome_lines(BEFORE, {"step": 0.0, **BEFORE}, ended, answered=32, malicious=48, benign=60)
    assert "no better than the untrained one" in lines[1]
    assert "by +0.06 standard deviations (malicious) and -0.01 (benign)" in lines[2] and "davsp fit gate" in lines[2]
    for pushed in ({"malicious_projection": -0.7}, {"benign_projection": -3.3}):
        told = outcome_lines(BEFORE, {"step": 0.0, **BEFORE}, ended | pushed, answered=32, malicious=48, benign=60)
        assert told == lines[:2]


def test_answers_that_the_model_does_not_give_are_warned_of() -> None:
    """They cost so much that nothing else is learned."""
    before = {"refused": 0.2, "kept": 0.23, "quality": 0.43, **WHERE}
    after = {"step": 75.0, "refused": 0.5, "kept": 0.21, "quality": 0.71}
    [_, warning] = outcome_lines(before, after, MOVED, answered=20, malicious=48, benign=60)
    assert "23 % of the benign answers are those trained towards" in warning and "benign=divergence" in warning


def test_without_answers_nothing_is_said_of_refusals() -> None:
    after = {"step": 2.0, "refused": 0.0, "kept": 1.0, "quality": 1.3}
    lines = outcome_lines(BEFORE, after, MOVED, answered=0, malicious=48, benign=60)
    assert len(lines) == 1 and "refused" not in lines[0]


def test_a_layer_that_few_queries_chose_is_warned_of() -> None:
    def layer(number: int, separation: float) -> LayerStatistics:
        return LayerStatistics(number, 1.0, 0.1, 0.0, 0.1, 0.9, separation, 1.5)

    statistics = [layer(1, 2.0), layer(2, 2.5), layer(3, 3.2)]
    said = layer_warning(statistics, 1, 4, 4)
    assert said is not None
    assert "layer 1 was chosen by 4 malicious and 4 benign" in said and "2 others (layer 3 separates" in said
    assert layer_warning(statistics, 1, 20, 20) is None


@pytest.mark.slow
def test_the_choice_of_a_layer_by_few_queries_is_said(
    model: VisionLanguageModel, queries: Two, capsys: pytest.CaptureFixture[str]
) -> None:
    few = [q for q in queries[1] if q.malicious][:2] + [q for q in queries[1] if not q.malicious][:2]
    vector_for(model, queries[0], few, "", None)
    assert "WARNING: layer" in " ".join(capsys.readouterr().err.split())
