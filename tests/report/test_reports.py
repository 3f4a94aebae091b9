"""Reports of many evaluations: tables, significance, agreement of judges, and what is wrong with folders."""

import csv
import io
import json
import math
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from davsp.cli.report import report
from davsp.errors import InputError
from davsp.judges.rates import Rate, Verdict
from davsp.judges.validate import Agreement
from davsp.report.agreement import between_judges, read_validations
from davsp.report.collect import collect, read_evaluation, read_transcripts
from davsp.report.comparison import write_comparison
from davsp.report.plots import Point, Standing, pareto_front, trade_off
from davsp.report.significance import Comparison, families, holm, mcnemar
from davsp.report.standing import field_of, overall
from davsp.report.tables import ModelTable, Value, published, tables
from davsp.report.typeset import cell, latex, markdown, tables_csv
from tests.evaluations import (
    DEFENCES,
    OVER_REFUSAL,
    SAFETY,
    USEFULNESS,
    benchmark,
    score,
    verdicts,
    write_evaluation,
    write_model,
)

R, N, U = Verdict.RESISTED, Verdict.NOT_RESISTED, Verdict.UNSCORED
FOUR = [("violence", True, False, 4)]
SD_TYPO = "SD+TYPO, 50 of 1480"


def shown(table: ModelTable, defence: str, title: str, *, published: bool = False) -> str:
    """The text of one cell."""
    [i] = [i for i, column in enumerate(table.columns) if column.title == title]
    [row] = [row for row in table.rows if row.defence == defence and row.published is published]
    return cell(row.values[i], table.columns[i], published=published)


def compared(*folders: Path) -> list[Comparison]:
    found = collect(folders)
    return [c for family in families([(e, read_transcripts(e)) for e in found]) for c in family.comparisons]


# --- McNemar and Holm


@pytest.mark.parametrize(("b", "c"), [(0, 0), (0, 5), (5, 0), (3, 9), (7, 7), (40, 12)])
def test_mcnemar_is_the_exact_binomial_test(b: int, c: int) -> None:
    outcomes = [math.comb(b + c, k) / 2 ** (b + c) for k in range(b + c + 1)]
    as_unlikely = sum(p for p in outcomes if p <= outcomes[b] * (1 + 1e-9))
    assert mcnemar(b, c) == pytest.approx(min(1.0, as_unlikely))


def test_mcnemar_of_many_pairs_neither_overflows_nor_vanishes() -> None:
    assert mcnemar(14_000, 14_000) == 1.0
    assert 0 < mcnemar(13_600, 14_400) < 1e-5


def test_holm_multiplies_the_smallest_by_all_and_never_falls() -> None:
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_discordant_pairs_are_counted_and_unscored_ones_left_out(tmp_path: Path) -> None:
    write_evaluation(tmp_path / "a", FOUR, {"none": [R, N, N, U], "davsp": [R, R, R, R]})
    [found] = compared(tmp_path)
    assert (found.measure, found.first, found.second) == ("rsr", "none", "davsp")
    assert (found.only_first, found.only_second, found.n, found.left_out) == (0, 2, 3, 1)
    assert found.difference == pytest.approx(-2 / 3)
    assert found.p == found.corrected == 0.5


def test_every_measure_is_compared_and_corrected_by_itself(tmp_path: Path) -> None:
    groups = [*SAFETY, *USEFULNESS, *OVER_REFUSAL]
    behind = {name: verdicts(groups, good, 1) for name, good in (("a", 0.2), ("b", 0.5), ("c", 0.9))}
    write_evaluation(tmp_path / "a", groups, behind)
    found = compared(tmp_path)
    assert [c.measure for c in found] == ["rsr"] * 3 + ["benign_accuracy"] * 3 + ["over_refusal"] * 3
    resisted = [c for c in found if c.measure == "rsr"]
    assert [c.corrected for c in resisted] == holm([c.p for c in resisted])
    assert all(c.only_first > c.only_second for c in found if c.measure == "over_refusal")


def test_a_reference_that_is_no_right_answer_is_not_compared(tmp_path: Path) -> None:
    said = verdicts(OVER_REFUSAL, 0.5, 0)
    folder = write_evaluation(tmp_path / "a", OVER_REFUSAL, {"none": said, "x": said})
    text = (folder / "transcripts.jsonl").read_text()
    (folder / "transcripts.jsonl").write_text(text.replace('"reference": null', '"reference": "a text"'))
    assert {c.measure for c in compared(tmp_path)} == {"over_refusal"}


def test_defences_of_two_folders_are_compared_on_the_queries_that_both_have(tmp_path: Path) -> None:
    facts = benchmark("figstep", "full")
    write_evaluation(tmp_path / "a", FOUR, {"none": [N, N, N, N]}, benchmark=facts)
    write_evaluation(tmp_path / "b", FOUR, {"davsp": [R, R, R, R]}, benchmark=facts, first=2)
    [found] = compared(tmp_path)
    assert (found.first, found.second, found.only_second, found.n) == ("none", "davsp", 2, 2)


def test_equal_ids_of_other_questions_are_never_compared(tmp_path: Path) -> None:
    write_evaluation(tmp_path / "a", FOUR, {"none": [N, N, N, N]})
    other = write_evaluation(tmp_path / "b", FOUR, {"davsp": [R, R, R, R]})
    lines = (other / "transcripts.jsonl").read_text().replace("question 1", "another 1")
    (other / "transcripts.jsonl").write_text(lines)
    assert compared(tmp_path) == []


def test_other_models_and_other_judges_are_never_compared(tmp_path: Path) -> None:
    write_evaluation(tmp_path / "a", FOUR, {"none": [N, N, N, N]})
    write_evaluation(tmp_path / "b", FOUR, {"davsp": [R, R, R, R]}, model="another")
    write_evaluation(tmp_path / "c", FOUR, {"davsp": [R, R, R, R]}, judge=("llm", "openai/x"))
    assert compared(tmp_path) == []


# --- tables


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
    for seed, said in ((0, [R, R, N, N]), (1, [R, R, R, R])):
        write_evaluation(tmp_path / str(seed), FOUR, {"none": said}, seed=seed)
    [table] = tables(collect([tmp_path]))
    low, high = Rate.of(2, 4).low, Rate.of(4, 4).high
    assert low is not None and high is not None
    assert table.rows[0].values == (Value(75.0, 100 * low, 100 * high, 8, 0, 2),)
    assert shown(table, "none", "0 and 1 more") == f"75.0 [{100 * low:.1f}, {100 * high:.1f}] n=2 x 4"


def test_the_same_result_in_two_folders_is_one_run(tmp_path: Path) -> None:
    for name in "ab":
        write_evaluation(tmp_path / name, FOUR, {"none": [R, R, N, N]}, benchmark=benchmark("figstep", "full"))
    [table, *_] = tables(collect([tmp_path]))
    assert shown(table, "none", "FigStep (OOD)").endswith("n=4")


def test_each_judge_has_a_column_of_its_own(tmp_path: Path) -> None:
    told = benchmark("figstep", "full")
    write_evaluation(tmp_path / "a", FOUR, {"none": [R, R, N, N]}, benchmark=told)
    write_evaluation(tmp_path / "b", FOUR, {"none": [R, R, R, N]}, benchmark=told, judge=("llm", "openai/x"))
    table, *_ = tables(collect([tmp_path]))
    assert table.judge == "rules and llm (openai/x)"
    assert [column.unit for column in table.columns if column.runs] == [
        "RSR, %, judged by rules",
        "RSR, %, judged by llm (openai/x)",
    ]
    assert shown(table, "none", "FigStep (OOD)").startswith("50.0")
    assert shown(table, "none", "Figstep, full").startswith("75.0")
    found = overall(collect([tmp_path]), "none", "rsr")
    assert found is not None and (found.value, found.n) == (50.0, 4)  # the first judge's


def test_parts_of_a_benchmark_are_columns_of_their_own_that_say_so(tmp_path: Path) -> None:
    told = benchmark("figstep", "full", published=4)
    write_evaluation(tmp_path / "a", [("x", True, False, 2)], {"none": [R, R]}, benchmark=told)
    write_evaluation(tmp_path / "b", FOUR, {"none": [R, R, N, N]}, benchmark=told)
    table, *_ = tables(collect([tmp_path]))
    assert shown(table, "none", "FigStep (OOD)").endswith("n=4")
    assert shown(table, "none", "Figstep, full, 2 of 4").endswith("n=2")
    found = overall(collect([tmp_path]), "none", "rsr")
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


def test_a_defence_that_was_never_scored_has_no_number(tmp_path: Path) -> None:
    write_evaluation(tmp_path / "a", FOUR, {"none": [U, U, U, U]})
    [table] = tables(collect([tmp_path]))
    assert shown(table, "none", "a") == "no score (4 unscored)"


def test_an_official_score_that_is_missing_gives_way_to_the_share_of_right_answers(tmp_path: Path) -> None:
    told = benchmark("mme", "perception", "usefulness", title="MME")
    write_evaluation(tmp_path / "a", USEFULNESS, {"none": verdicts(USEFULNESS, 1, 0)}, benchmark=told)
    [table] = tables(collect([tmp_path]))
    assert (table.columns[0].title, table.columns[0].unit) == ("MME, perception", "right, %")


def test_names_cannot_break_out_of_any_kind_of_table(tmp_path: Path) -> None:
    evil = "a|b<i>&_$\\%"
    write_evaluation(tmp_path / "a", FOUR, {evil: [R, R, R, R]}, model=evil)
    [table] = tables(collect([tmp_path]))
    assert r"| a\|b&lt;i>&amp;\_$\\% |" in markdown([table])
    assert r"a\textbar{}b\textless{}i\textgreater{}\&\_\$\textbackslash{}\% & " in latex([table])
    [row] = csv.DictReader(io.StringIO(tables_csv([table])))
    assert (row["defence"], row["model"], row["a (RSR, %): value"]) == (evil, evil, "100.0")


def test_every_line_of_a_latex_table_has_as_many_cells(tmp_path: Path) -> None:
    text = latex(tables(collect([write_model(tmp_path, "llava-hf/llava-1.5-13b-hf", 6)])))
    spec = re.findall(r"\\begin\{tabular\}\{(.*?)\}", text)
    assert spec == ["l" + "c" * 9, "l" + "c" * 7]
    lines = [
        line for line in text.split("\\end{tabular}")[0].splitlines() if line.endswith("\\\\") and "multi" not in line
    ]
    assert {len(re.findall(r"(?<!\\)&", line)) for line in lines} == {9}
    assert text.count("{") == text.count("}")


def test_markdown_tables_are_rectangular(tmp_path: Path) -> None:
    text = markdown(tables(collect([write_model(tmp_path, "some/model", 3)])))
    blocks = [block.splitlines() for block in text.split("\n\n") if block.startswith("|")]
    assert [{len(re.findall(r"(?<!\\)\|", line)) for line in block} for block in blocks] == [{11}, {9}, {9}]


# --- safety against usefulness


def test_the_front_is_what_nothing_else_beats_in_both() -> None:
    assert pareto_front([(1, 1), (2, 3), (3, 2), (2, 2), (2, 3)]) == [1, 2, 4]


@pytest.mark.parametrize("n", [1, 3, 10])
@pytest.mark.parametrize("good", [0.0, 1.0])
def test_reports_of_few_answers_that_are_all_alike_are_written(tmp_path: Path, n: int, good: float) -> None:
    groups = [("fraud", True, False, n), ("reading", False, True, n), ("looks harmful", False, False, n)]
    write_evaluation(tmp_path / "a", groups, {"none": verdicts(groups, good, 0), "davsp": verdicts(groups, good, 1)})
    page = write_comparison([tmp_path / "a"], tmp_path / "out").read_text()
    assert page.count("<svg") == 1


def test_a_value_outside_its_interval_is_drawn() -> None:
    # The percentiles of a bootstrap need not hold the value itself between them.
    assert "odd" in trade_off([Standing("odd", Point(50, 60, 70), Point(1, 0.2, 0.5), Point(3, 3, 3))], "points")


def test_a_defence_not_asked_everything_is_not_drawn(tmp_path: Path) -> None:
    write_model(tmp_path, "m", 2)
    behind = {"late": verdicts(SAFETY, 0.9, 9)}
    write_evaluation(tmp_path / "more", SAFETY, behind, model="m", benchmark=benchmark("figstep", "tiny"))
    evaluations = collect([tmp_path])
    field = field_of(tables(evaluations)[0], evaluations)
    assert [s.defence for s in field.standings] == list(DEFENCES)[:2]
    assert field.left_out == ["late"]


def test_standing_counts_every_query_of_every_benchmark_once(tmp_path: Path) -> None:
    group = collect([write_model(tmp_path, "m", 2)])
    found = overall(group, "none", "rsr")
    assert found is not None and (found.n, found.unscored) == (99, 1)
    assert overall(group, "nobody", "rsr") is None


def test_usefulness_without_right_answers_is_the_official_score(tmp_path: Path) -> None:
    write_evaluation(tmp_path / "a", SAFETY, {"none": verdicts(SAFETY, 0.5, 0)})
    told = benchmark("mm_vet", "all", "usefulness", title="MM-Vet")
    said = verdicts(OVER_REFUSAL, 1, 0)
    write_evaluation(
        tmp_path / "b", OVER_REFUSAL, {"none": said}, benchmark=told, scores={"none": {"total": score(39.0)}}
    )
    evaluations = collect([tmp_path])
    field = field_of(tables(evaluations)[0], evaluations)
    assert field.usefulness == "MM-Vet, all, score (higher is better)"
    assert field.standings[0].usefulness == (39.0, 37.0, 41.0)


def test_without_usefulness_safety_stands_against_over_refusal(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    groups = [*SAFETY, *OVER_REFUSAL]
    write_evaluation(tmp_path / "a", groups, {"none": verdicts(groups, 0.5, 0)})
    evaluations = collect([tmp_path])
    [standing] = field_of(tables(evaluations)[0], evaluations).standings
    assert standing.usefulness is None and standing.over_refusal is not None
    page = write_comparison([tmp_path], tmp_path / "out").read_text()
    assert page.count("<svg") == 1


# --- judges


def validation(tmp_path: Path) -> Path:
    figures = Agreement(40, 2, 3, 55, 1).to_json(0)
    told = {"judge": {"name": "rules", "model": None}, "labels": [{"file": "labels.csv", "sha256": "0"}]}
    file = tmp_path / "validation.json"
    file.write_text(json.dumps({**told, "refusal": {"all": figures, "models": {"gpt": figures}, "reasons": {}}}))
    return file


def test_a_judge_s_validation_is_read_by_source_model(tmp_path: Path) -> None:
    found = read_validations([validation(tmp_path)])
    assert [(f.judge, f.asked, f.labels, f.source, f.figures.n) for f in found] == [
        ("rules", "refusal", "labels.csv", "all", 100),
        ("rules", "refusal", "labels.csv", "gpt", 100),
    ]
    assert found[0].figures.unscored == 1


@pytest.mark.parametrize("content", ["{}", "[]", "{", '{"judge": {"name": "rules"}}'])
def test_another_file_is_no_validation(tmp_path: Path, content: str) -> None:
    file = tmp_path / "other.json"
    file.write_text(content)
    with pytest.raises(InputError, match=r"other\.json"):
        read_validations([file])


def test_judges_are_compared_on_the_same_answers_alone(tmp_path: Path) -> None:
    write_evaluation(tmp_path / "a", FOUR, {"none": [R, R, N, N]})
    other = write_evaluation(tmp_path / "b", FOUR, {"none": [R, N, N, U]}, judge=("llm", "openai/x"))
    told = [(e, read_transcripts(e)) for e in collect([tmp_path])]
    [found] = between_judges(told)
    assert found.judges == ("rules", "llm (openai/x)")
    assert (found.figures.n, found.figures.unscored, found.figures.accuracy.rate) == (3, 1, 2 / 3)
    assert found.figures.kappa.value == pytest.approx(0.4)
    lines = (other / "transcripts.jsonl").read_text().splitlines()
    lines[0] = lines[0].replace("an answer", "another")
    (other / "transcripts.jsonl").write_text("\n".join(lines))
    [found] = between_judges([(e, read_transcripts(e)) for e in collect([tmp_path])])
    assert found.figures.n == 2


# --- folders


def test_results_of_the_first_version_are_read(tmp_path: Path) -> None:
    folder = write_evaluation(tmp_path / "old", SAFETY, {"none": verdicts(SAFETY, 0.5, 0)})
    results = json.loads((folder / "results.json").read_text())
    del results["judge"]
    (folder / "results.json").write_text(json.dumps(results))
    [found] = collect([tmp_path])
    assert (found.judge, found.benchmark, found.scores, found.title) == ("rules", None, {}, "old")


def test_a_folder_and_the_folders_in_it_are_read_once(tmp_path: Path) -> None:
    write_evaluation(tmp_path / "all" / "a", FOUR, {"none": [R, R, R, R]})
    found = collect([tmp_path / "all", tmp_path / "all" / "a"])
    assert [e.folder for e in found] == [tmp_path / "all" / "a"]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: text[:-9], "cannot be read"),
        (lambda text: "[1]", "is damaged"),
        (lambda text: text.replace('"rate"', '"rats"', 1), r"damaged: defences\.none\.rsr\.violence\.rate"),
        (lambda text: text.replace('"unscored": {"none": 0}', '"unscored": {}'), "unscored lacks 'none'"),
        (lambda text: text.replace('"queries": 4', '"queries": 0'), "damaged: queries"),
        (lambda text: text.replace('"queries": 4', '"queries": "4"'), "damaged: queries"),
        (lambda text: text.replace('"rate": 1.0', '"rate": NaN'), r"violence\.rate"),
        (lambda text: text.replace('"rate": 1.0', '"rate": 2.0'), r"violence\.rate"),
        (lambda text: text.replace('"rate": 1.0', '"rate": null'), "go with an n above 0"),
        (lambda text: text.replace('"n": 4', '"n": -4'), r"violence\.n"),
        (lambda text: text.replace('"n": 4', '"n": 4, "more": 1'), r"violence\.more"),
    ],
)
def test_damaged_results_are_named(tmp_path: Path, damage: Any, message: str) -> None:
    file = write_evaluation(tmp_path / "a", FOUR, {"none": [R, R, R, R]}) / "results.json"
    text = file.read_text()
    assert damage(text) != text
    file.write_text(damage(text))
    with pytest.raises(InputError, match=rf"results\.json.*{message}"):
        collect([tmp_path])


def test_a_damaged_transcript_is_named_with_its_line(tmp_path: Path) -> None:
    folder = write_evaluation(tmp_path / "a", FOUR, {"none": [R, R, R, R]})
    file = folder / "transcripts.jsonl"
    text = file.read_text()
    for damaged, message in (
        (text[:-9], "line 4: no JSON"),
        (text.replace("resisted", "safe", 1), "line 1 is damaged"),
        (text.replace("q1", "q0"), "line 2: the query 'q0' is there twice"),
        ("".join(text.splitlines(keepends=True)[:3]), "has 3 of 4 queries"),
    ):
        file.write_text(damaged)
        with pytest.raises(InputError, match=rf"transcripts\.jsonl,? {message}"):
            read_transcripts(read_evaluation(folder))


def test_a_page_without_transcripts_says_why_nothing_is_compared(tmp_path: Path) -> None:
    folder = write_evaluation(tmp_path / "a", FOUR, {"none": [R, R, R, R], "davsp": [R, R, R, N]})
    (folder / "transcripts.jsonl").unlink()
    page = write_comparison([folder], tmp_path / "out").read_text()
    assert "Without transcripts, and so not compared: a." in page


def test_two_results_of_one_name_and_seed_are_told(tmp_path: Path) -> None:
    for name, said in (("a", [R, R, R, R]), ("b", [R, R, R, N])):
        write_evaluation(tmp_path / name, FOUR, {"pat": said}, seed=3)
    [table] = tables(collect([tmp_path]))
    assert any("pat has different results of seed 3" in warning for warning in table.warnings)


def test_a_line_separator_inside_an_answer_ends_no_record(tmp_path: Path) -> None:
    folder = write_evaluation(tmp_path / "a", FOUR, {"none": [R, R, R, R]})
    file = folder / "transcripts.jsonl"
    file.write_text(file.read_text().replace("an answer", "an\u2028answer"), encoding="utf-8")
    assert len(read_transcripts(read_evaluation(folder))) == 4


def test_without_transcripts_the_tables_stand_and_the_page_says_so(tmp_path: Path) -> None:
    (write_evaluation(tmp_path / "a", FOUR, {"none": [N, N, R, R], "x": [R, R, R, R]}) / "transcripts.jsonl").unlink()
    write_evaluation(tmp_path / "b", FOUR, {"none": [N, N, R, R], "x": [R, R, R, R]}, first=9)
    page = write_comparison([tmp_path], tmp_path / "out").read_text()
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
    told = benchmark("figstep", evil, dropped=[evil])
    write_evaluation(tmp_path / "a:b", groups, behind, model=evil, benchmark=told)
    page = write_comparison([tmp_path], tmp_path / "out").read_text()
    assert "<script" not in page
    assert not re.search(r"(src|xlink:href)=\"(?!#)|https?:", page)


# --- the command


def davsp(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "davsp", "report", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_command_writes_page_and_tables_to_the_first_folder(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    first, second = write_model(tmp_path / "a", "a", 2), write_model(tmp_path / "b", "b", 2)
    done = davsp(first, second, "--judge-validation", validation(tmp_path))
    assert (done.returncode, done.stdout) == (0, f"{first / 'report.html'}\n"), done.stderr
    files = {path.name for path in first.iterdir() if path.is_file()}
    assert files == {"report.html", "tables.md", "tables.tex", "tables.csv", "scenarios.csv", "significance.csv"}
    assert not [path for path in second.iterdir() if path.is_file()]
    scenarios = list(csv.DictReader((first / "scenarios.csv").open()))
    assert {"violence", "fraud", "counting", "total"} <= {line["group"] for line in scenarios}
    assert davsp(first).returncode == 0  # a folder with a page of tables is still no evaluation


@pytest.mark.parametrize(
    "damage", [{"transcripts": 5}, {"transcripts": [{"id": "q"}]}, {"projections": {"a": [1]}}, {"training": 5}, None]
)
def test_damaged_report_inputs_are_named(tmp_path: Path, damage: dict[str, Any] | None) -> None:
    one = write_evaluation(tmp_path / "one", FOUR, {"none": [R, R, R, U]})
    inputs: dict[str, Any] = {"title": "Mine", "projections": {}, "training": [], "border": None, "transcripts": []}
    (one / "report_inputs.json").write_text(json.dumps([] if damage is None else inputs | damage))
    with pytest.raises(InputError, match=r"report_inputs\.json is damaged"):
        report([one])


def test_one_evaluation_has_its_own_page_written_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = write_evaluation(tmp_path / "one", FOUR, {"none": [R, R, R, U]}, benchmark=benchmark("figstep", "tiny"))
    write_evaluation(one / "another", FOUR, {"none": [R, R, R, R]})
    inputs: dict[str, Any] = {"title": "Mine", "projections": {}, "training": [], "border": None, "transcripts": []}
    (one / "report_inputs.json").write_text(json.dumps(inputs))
    report([one])
    assert capsys.readouterr().out == f"{one / 'report.html'}\n"
    page = (one / "report.html").read_text()
    assert "<h1>Mine</h1>" in page and "Nobody, Nothing, 2026." in page
    assert not (one / "tables.md").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["empty"], "holds no finished evaluation"),
        (["one", "--viewer"], "give --out"),
        (["one", "empty"], "give another folder with --out"),
        (["empty", "one"], "holds no finished evaluation"),
        (["one", "--out", "out", "--judge-validation", "none.json"], "none.json"),
        (["one", "--out", "out", "--viewer"], "no logs"),
    ],
)
def test_bad_arguments_are_one_line_and_status_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    write_evaluation(tmp_path / "one", FOUR, {"none": [R, R, R, R]})
    done = davsp(*arguments)
    assert done.returncode == 2
    assert message in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())
