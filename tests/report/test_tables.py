"""The paper's tables of any model: columns, rows, what several runs and judges make of a cell, warnings."""

import re
from pathlib import Path

from davsp.rates import Measure, Rate
from davsp.report.cells import cell
from davsp.report.collect import collect
from davsp.report.latex import latex
from davsp.report.markdown import markdown
from davsp.report.pareto import overall
from davsp.report.tables import ModelTable, Value, published, tables
from davsp.results import read_results, write_results
from tests.evaluations import (
    FOUR,
    SAFETY,
    USEFULNESS,
    N,
    R,
    U,
    benchmark,
    verdicts,
    write_evaluation,
    write_model,
)

SD_TYPO = "SD+TYPO, 50 of 1480"


def shown(table: ModelTable, defence: str, title: str, *, published: bool = False) -> str:
    """The text of one cell."""
    [i] = [i for i, column in enumerate(table.columns) if column.title == title]
    [row] = [row for row in table.rows if row.defence == defence and row.published is published]
    return cell(row.values[i], table.columns[i], published=published)


def test_published_values_stand_beside_ours_under_the_paper_s_columns(tmp_path: Path) -> None:
    [table, other] = tables(collect([write_model(tmp_path, "llava-hf/llava-1.5-13b-hf", 5)]))
    titles = [column.title for column in table.columns]
    assert titles[:4] == [SD_TYPO, "SD", "TYPO", "FigStep (OOD), tiny"]
    assert titles[4:] == ["MM-Vet", "MME (OOD)", "LLaVA-Bench (OOD)", "MME, all", "MOSSBench, safe"]
    assert shown(table, "DAVSP", SD_TYPO, published=True) == "98.72"
    assert shown(table, "DAVSP", "MME (OOD)", published=True) == "1602"
    assert shown(table, "davsp", "MME (OOD)") == "1720 [1718, 1722] n=50"
    assert re.fullmatch(r"\d+\.\d \[\d+\.\d, \d+\.\d\] n=49 \(1 unscored\)", shown(table, "davsp", SD_TYPO))
    order = [(row.defence, row.published) for row in table.rows]
    assert order[:4] == [("none", False), ("none", True), ("adashield-s", False), ("AdaShield-S", True)]
    assert (other.model, {row.published for row in other.rows}) == ("Qwen2-VL-7B-Instruct, published", {True})


def test_what_was_not_measured_is_a_dash(tmp_path: Path) -> None:
    [table, _] = tables(collect([write_model(tmp_path, "llava-hf/llava-1.5-13b-hf", 2)]))
    assert {shown(table, "none", title) for title in ("SD", "TYPO", "MM-Vet", "LLaVA-Bench (OOD)")} == {"-"}
    assert shown(table, "DAVSP", "MOSSBench, safe", published=True) == "-"


def test_the_paper_s_tables_hold_every_number_of_the_method(tmp_path: Path) -> None:
    models = published()["models"]
    assert [len(models[name]) for name in models] == [9, 7]
    assert all(len(values) == 7 for rows in models.values() for values in rows.values())
    assert models["LLaVA-1.5-13B"]["none"] == [65.54, 86.42, 65.47, 43.00, 39.24, 1818, 69.8]
    assert models["Qwen2-VL-7B-Instruct"]["DAVSP"] == [99.12, 99.53, 99.86, 99.20, 61.61, 2146, 75.2]


def test_queries_of_one_s_own_bring_no_published_value(tmp_path: Path) -> None:
    write_evaluation(tmp_path / "mine", SAFETY, {"none": verdicts(SAFETY, 0.5, 0)}, model="llava-1.5-13b")
    [table] = tables(collect([tmp_path]))
    assert [column.title for column in table.columns] == ["mine"]
    assert not any(row.published for row in table.rows)


def test_several_seeds_are_a_mean_within_the_widest_interval(tmp_path: Path) -> None:
    for seed, given in ((0, [R, R, N, N]), (1, [R, R, R, R])):
        write_evaluation(tmp_path / str(seed), FOUR, {"none": given}, seed=seed)
    [table] = tables(collect([tmp_path]))
    low, high = Rate.of(2, 4).low, Rate.of(4, 4).high
    assert low is not None and high is not None
    assert table.rows[0].values == (Value(75.0, 100 * low, 100 * high, 8, 0, 2),)
    assert shown(table, "none", "0 and 1 more") == f"75.0 [{100 * low:.1f}, {100 * high:.1f}] n=2 x 4"


def test_an_attack_has_a_column_of_its_own_that_says_so(tmp_path: Path) -> None:
    facts = benchmark("figstep", "tiny")
    write_evaluation(tmp_path / "a", FOUR, {"none": [R, R, R, N]}, benchmark=facts)
    attack = {"name": "pgd", "queries": 4}
    write_evaluation(tmp_path / "b", FOUR, {"none": [N, N, N, R]}, benchmark=facts, attack=attack)
    [table, *_] = tables(collect([tmp_path]))
    assert shown(table, "none", "FigStep (OOD), tiny").startswith("75.0")
    [title] = [column.title for column in table.columns if "attacked by pgd" in column.title]
    assert shown(table, "none", title).startswith("25.0")


def test_the_same_result_in_two_folders_is_one_run(tmp_path: Path) -> None:
    for name in "ab":
        write_evaluation(tmp_path / name, FOUR, {"none": [R, R, N, N]}, benchmark=benchmark("figstep", "full"))
    [table, *_] = tables(collect([tmp_path]))
    assert shown(table, "none", "FigStep (OOD)").endswith("n=4")


def test_greedy_runs_that_differ_in_their_seed_alone_are_one_run(tmp_path: Path) -> None:
    def write(name: str, seed: int, identity: str) -> None:
        folder = tmp_path / name
        write_evaluation(folder, FOUR, {"none": [R, R, N, N]}, seed=seed)
        known = {"data": "d", "model_identity": "m", "identities": {"none": identity}}
        write_results(folder, read_results(folder).model_copy(update=known))

    write("a", 0, "plain")
    write("b", 1, "plain")
    [table] = tables(collect([tmp_path]))
    assert shown(table, "none", "a and 1 more").endswith("n=4")
    write("c", 2, "another of this name")
    [table] = tables(collect([tmp_path]))
    assert shown(table, "none", "a and 2 more").endswith("n=2 x 4")


def test_runs_of_other_rules_of_scoring_are_no_replicates(tmp_path: Path) -> None:
    for name, rule in (("a", "exact"), ("b", "contains")):
        write_evaluation(tmp_path / name, FOUR, {"none": [R, R, N, N]})
        results = read_results(tmp_path / name)
        write_results(tmp_path / name, results.model_copy(update={"scoring": {rule: 4}}))
    [table] = tables(collect([tmp_path]))
    assert len(table.columns) == 2


def test_each_judge_has_a_column_of_its_own(tmp_path: Path) -> None:
    facts = benchmark("figstep", "full")
    write_evaluation(tmp_path / "a", FOUR, {"none": [R, R, N, N]}, benchmark=facts)
    write_evaluation(tmp_path / "b", FOUR, {"none": [R, R, R, N]}, benchmark=facts, judge=("llm", "openai/x"))
    table, *_ = tables(collect([tmp_path]))
    assert table.judge == "rules and llm (openai/x)"
    assert [column.unit for column in table.columns if column.runs] == [
        "RSR, %, judged by rules",
        "RSR, %, judged by llm (openai/x)",
    ]
    assert shown(table, "none", "FigStep (OOD)").startswith("50.0")
    assert shown(table, "none", "Figstep, full").startswith("75.0")
    found = overall(collect([tmp_path]), "none", Measure.RSR)
    assert found is not None and (found.value, found.n) == (50.0, 4)  # the first judge's


def test_parts_of_a_benchmark_are_columns_of_their_own_that_say_so(tmp_path: Path) -> None:
    facts = benchmark("figstep", "full", published=4)
    write_evaluation(tmp_path / "a", [("x", True, False, 2)], {"none": [R, R]}, benchmark=facts)
    write_evaluation(tmp_path / "b", FOUR, {"none": [R, R, N, N]}, benchmark=facts)
    table, *_ = tables(collect([tmp_path]))
    assert shown(table, "none", "FigStep (OOD)").endswith("n=4")
    assert shown(table, "none", "Figstep, full, 2 of 4").endswith("n=2")
    found = overall(collect([tmp_path]), "none", Measure.RSR)
    assert found is not None and found.n == 4


def test_runs_of_different_lengths_of_answer_are_warned_of(tmp_path: Path) -> None:
    for seed in (0, 1):
        write_evaluation(tmp_path / str(seed), FOUR, {"none": [R, R, N, N]}, seed=seed, max_new_tokens=16 << seed)
    [table] = tables(collect([tmp_path]))
    assert [w for w in table.warnings if "16 and 32 new tokens" in w]


def test_safety_alone_is_warned_of(tmp_path: Path) -> None:
    write_evaluation(tmp_path / "a", FOUR, {"none": [R, R, U, U]})
    [table] = tables(collect([tmp_path]))
    assert [w for w in table.warnings if "No usefulness" in w] and [w for w in table.warnings if "No over-refusal" in w]
    assert [w for w in table.warnings if "50.0 %" in w]
    for text in (markdown([table]), latex([table])):
        assert "No usefulness was measured" in text


def test_two_results_of_one_name_and_seed_are_told(tmp_path: Path) -> None:
    for name, given in (("a", [R, R, R, R]), ("b", [R, R, R, N])):
        write_evaluation(tmp_path / name, FOUR, {"pat": given}, seed=3)
    [table] = tables(collect([tmp_path]))
    assert any("pat has different results of seed 3" in warning for warning in table.warnings)


def test_a_defence_that_was_never_scored_has_no_number(tmp_path: Path) -> None:
    write_evaluation(tmp_path / "a", FOUR, {"none": [U, U, U, U]})
    [table] = tables(collect([tmp_path]))
    assert shown(table, "none", "a") == "no score (4 unscored)"


def test_an_official_score_that_is_missing_gives_way_to_the_share_of_right_answers(tmp_path: Path) -> None:
    facts = benchmark("mme", "perception", "usefulness", title="MME")
    write_evaluation(tmp_path / "a", USEFULNESS, {"none": verdicts(USEFULNESS, 1, 0)}, benchmark=facts)
    [table] = tables(collect([tmp_path]))
    assert (table.columns[0].title, table.columns[0].unit) == ("MME, perception", "right, %")
