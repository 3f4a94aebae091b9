"""Official scores: by their rules on made-up answers, and to the last printed digit on published ones."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from davsp.benchmarks import get, llava_bench, mm_vet, mme, pope
from davsp.cli import app
from davsp.errors import InputError

# MME


def answers(*texts: str, subtask: str = "count", golds: Sequence[str] = ("Yes", "No")) -> list[mme.MmeAnswer]:
    """Answers to the pairs of questions about images 0, 1, ..."""
    return [mme.MmeAnswer(subtask, str(i // 2), "?", golds[i % 2], text) for i, text in enumerate(texts)]


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("Yes", "yes"),
        ("NO.", "no"),
        (" yes, it is", "yes"),
        ("not at all", "no"),
        ("I say yes", "other"),
        ("", "other"),
        ("know", "no"),
    ],
)
def test_mme_reads_the_first_four_characters(text: str, parsed: str) -> None:
    assert mme.parse(text) == parsed


def test_mme_counts_images_with_both_answers_right_besides_the_answers() -> None:
    found = mme.score(answers("yes", "no", "yes", "yes", "perhaps", "no")).figures
    assert (found["count/acc"].value, found["count/acc"].n) == (4 / 6, 6)
    assert (found["count/acc_plus"].value, found["count/acc_plus"].n) == (1 / 3, 3)
    assert found["count"].value == pytest.approx(100 * 4 / 6 + 100 / 3)
    low, high = found["count"].low, found["count"].high
    assert low is not None and high is not None and 0 <= low < found["count"].value < high <= 200


def test_mme_sums_only_what_is_whole() -> None:
    scores = mme.score([a for subtask in mme.COGNITION for a in answers("yes", "no", subtask=subtask)])
    assert scores.figures["cognition"].value == 800
    assert "perception" not in scores.figures and "total" not in scores.figures
    assert "there is no perception: no answers to existence" in "\n".join(scores.notes)
    assert "code_reasoning: 2 of 40 answers" in scores.notes


def test_mme_refuses_answers_that_are_no_pairs() -> None:
    with pytest.raises(InputError, match="3 answers are no pairs"):
        mme.score(answers("yes", "no", "yes"))
    one, _ = answers("yes", "no")
    with pytest.raises(InputError, match="stand together, and are no pair"):
        mme.score([one, mme.MmeAnswer("count", "other.jpg", "?", "No", "no")])
    with pytest.raises(InputError, match="no subtask 'sums'"):
        mme.score(answers("yes", "no", subtask="sums"))


def test_a_damaged_mme_file_is_named_with_its_line(tmp_path: Path) -> None:
    for subtask in mme.SUBTASKS:
        (tmp_path / f"{subtask}.txt").write_text("1.jpg\tIs it?\tYes\tyes,\u2028it is\n1.jpg\tIs it not?\tNo\tno\n")
    assert mme.score(mme.read_answers(tmp_path)).figures["total"].value == 2800
    (tmp_path / "count.txt").write_text("1.jpg\tIs it?\tYes\n")
    with pytest.raises(InputError, match=r"count\.txt, line 1: 3 cells with tabs between, not 4"):
        mme.read_answers(tmp_path)
    (tmp_path / "count.txt").write_text("1.jpg\tIs it?\tMaybe\tyes\n")
    with pytest.raises(InputError, match=r"count\.txt, line 1: the right answer is 'Maybe'"):
        mme.read_answers(tmp_path)
    (tmp_path / "count.txt").write_bytes(b"1.jpg\tIs it?\tYes\t\xff\n")
    with pytest.raises(InputError, match=r"count\.txt is not UTF-8 text \(at byte 17\)"):
        mme.read_answers(tmp_path)
    (tmp_path / "count.txt").unlink()
    with pytest.raises(InputError, match=r"holds none of count\.txt"):
        mme.read_answers(tmp_path)


@pytest.mark.parametrize(
    ("said", "golds", "perception", "cognition"),
    [
        ("mme/eval_tool/LaVIN", None, 963.61, 249.64),  # by the rules; no published figure at hand
        ("mme/eval_tool/answers/llava-v1.5-7b-exp", None, 1508.94, 355.71),  # the same
        ("llava_eval/MME/answers/llava-v1.5-13b.jsonl", "mme/eval_tool/LaVIN", 1531.32, 295.36),  # LLaVA-1.5's table
    ],
)
def test_mme_scores_of_real_answers(
    data_folder: Path, said: str, golds: str | None, perception: float, cognition: float
) -> None:
    found = mme.score(mme.read_answers(data_folder / said, data_folder / golds if golds else None))
    assert (found.printed("perception"), found.printed("cognition")) == (perception, cognition)
    assert found.figures["total"].n == sum(mme.SUBTASKS.values()) // 2 - ("7b" in said)


def test_answers_that_are_missing_from_a_published_file_are_said(data_folder: Path) -> None:
    found = mme.score(mme.read_answers(data_folder / "mme" / "eval_tool" / "answers" / "llava-v1.5-7b-exp"))
    assert "landmark: 398 of 400 answers" in found.notes


# MM-Vet


def test_mm_vet_takes_the_mean_over_runs_for_each_capability_and_integration() -> None:
    needs = {"a": ["ocr", "math"], "b": ["ocr"], "c": ["rec"]}
    found = mm_vet.score({"a": [0.5, 1.0], "b": [0.0, 0.0], "c": [1.0, 1.0]}, needs).figures
    assert found["total"].value == pytest.approx((50 + 200 / 3) / 2)
    assert found["ocr"].value == pytest.approx((25 + 50) / 2)
    assert (found["math"].value, found["ocr_math"].value, found["ocr alone"].value) == (75, 75, 0)
    assert found["std"].value == pytest.approx((200 / 3 - 50) / 2)
    assert [found["run 1"].value, found["run 2"].value] == pytest.approx([50, 200 / 3])


def test_a_question_without_a_grade_counts_as_nothing_and_is_said() -> None:
    found = mm_vet.score({"a": [1.0]}, {"a": ["ocr"], "b": ["ocr"]})
    assert found.figures["total"].value == 50
    assert found.notes == ("1 of 2 questions have no grade, and count as 0, as in the official code",)


def test_mm_vet_grades_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="grades of z, which is no question"):
        mm_vet.score({"z": [1.0]}, {"a": ["ocr"]})
    with pytest.raises(InputError, match="questions have 1, 2 grades"):
        mm_vet.score({"a": [1.0], "b": [1.0, 0.0]}, {"a": ["ocr"], "b": ["ocr"]})
    path = tmp_path / "m_gpt-4-grade-1runs.json"
    path.write_text(json.dumps({"v1_0": {"score": [1.5]}}))
    with pytest.raises(InputError, match=r"v1_0\.score\.0: Input should be less than or equal to 1"):
        mm_vet.read_grades(path)
    path.write_text("half of a fi")
    with pytest.raises(InputError, match="is no file of MM-Vet grades: the file: Invalid JSON"):
        mm_vet.read_grades(path)


@pytest.mark.parametrize("runs", ["1runs", "3runs"])
@pytest.mark.parametrize("model", ["llava-v1.5-7b", "llava-v1.5-13b"])
def test_mm_vet_tables_are_the_published_ones_to_the_last_digit(data_folder: Path, model: str, runs: str) -> None:
    results = data_folder / "llava_eval" / "mm-vet" / "results"
    needs = mm_vet.read_capabilities(data_folder / "mm_vet")
    found = mm_vet.score(mm_vet.read_grades(results / f"{model}_gpt-4-grade-{runs}.json"), needs)
    compared = 0
    for kind in ("cap-score", "cap-int-score"):
        for row in csv.DictReader((results / f"{model}_gpt-4-{kind}-{runs}.csv").open()):
            if row.pop("") != model or json.loads(row["runs"]) != [
                found.printed(name) for name in found.figures if name.startswith("run ")
            ]:
                continue  # these files also hold rows of other models and of other numbers of runs
            del row["runs"]
            for column, value in row.items():
                assert found.printed(_figure_of(column, kind)) == float(value), (kind, column)
                compared += 1
    assert compared == 8 + 18


def _figure_of(column: str, kind: str) -> str:
    if column in ("total", "std") or kind == "cap-score":
        return column
    return mm_vet.integration(column.split("_")) if "_" in column else f"{column} alone"


# POPE


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("yes", "yes"),
        ("No, there is none", "no"),
        ("There is not one", "no"),
        ("Yes. There is no car", "yes"),
        ("NO", "yes"),
        ("none at all", "yes"),
        ("", "yes"),
    ],
)
def test_pope_reads_the_first_sentence_as_the_official_code_does(text: str, parsed: str) -> None:
    assert pope.parse(text) == parsed


def test_pope_scores_follow_from_the_four_counts() -> None:
    said = [("yes", "yes")] * 5 + [("yes", "no")] * 3 + [("no", "yes")] * 1 + [("no", "no")] * 11
    found = pope.score(said).figures
    assert {name: figure.value for name, figure in found.items()} == pytest.approx(
        {"accuracy": 16 / 20, "precision": 5 / 6, "recall": 5 / 8, "f1": 2 * 5 / (6 + 8), "yes_ratio": 6 / 20}
    )
    assert [found[name].n for name in found] == [20, 6, 8, 20, 20]
    for figure in found.values():
        assert figure.low is not None and figure.high is not None and figure.low < figure.value < figure.high


def test_what_pope_cannot_say_is_left_out_with_a_note() -> None:
    scores = pope.score([("yes", "no"), ("no", "No.")])
    assert set(scores.figures) == {"accuracy", "recall", "yes_ratio"}
    assert scores.notes == ("there is no precision: no answer is yes", "there is no f1: no answer is rightly yes")
    assert "1 answers say neither" in pope.score([("yes", "a dog"), ("yes", "yes")]).notes[0]


def test_pope_answers_made_from_the_labels_are_all_right(data_folder: Path, tmp_path: Path) -> None:
    labels = [json.loads(line) for line in (data_folder / "pope/coco/coco_pope_popular.json").read_text().splitlines()]
    said = tmp_path / "mine_popular.jsonl"
    said.write_text("".join(json.dumps({"question_id": r["question_id"], "answer": r["label"]}) + "\n" for r in labels))
    (found,) = get("pope").score(said, data_folder / "pope")  # type: ignore[misc]
    assert {name: figure.value for name, figure in found.figures.items()} == {
        "accuracy": 1, "precision": 1, "recall": 1, "f1": 1, "yes_ratio": 0.5,
    }  # fmt: skip
    assert found.figures["accuracy"].n == 3000


def lines(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([{"question_id": 1, "answer": "yes"}, {"question_id": 1, "answer": "no"}], "question_id 1 occurs twice"),
        ([{"question_id": 1, "answer": None}], "answer None is no text"),
        ([{"question_id": 9, "answer": "yes"}], "no question with question_id 9"),
        ([{"answer": "yes"}], "a record has no question_id"),
        ([{"question_id": 1, "answer": "yes", "label": "maybe"}], "a label is"),
    ],
)
def test_pope_answers_that_cannot_be_counted_are_named(tmp_path: Path, rows: list[Any], told: str) -> None:
    lines(tmp_path / "coco_pope_random.json", {"question_id": 1, "label": "yes"})
    said = lines(tmp_path / "random.jsonl", *rows)
    with pytest.raises(InputError, match=rf"random\.jsonl.*{told}"):
        get("pope").score(said, tmp_path)  # type: ignore[misc]


def test_an_mme_question_that_is_answered_twice_is_no_pair(tmp_path: Path) -> None:
    for subtask in mme.SUBTASKS:
        (tmp_path / f"{subtask}.txt").write_text("1.jpg\tIs it?\tYes\n1.jpg\tIs it not?\tNo\n")
    said = {"question_id": "count/1.jpg", "prompt": "Is it?", "text": "Yes"}
    with pytest.raises(InputError, match="is answered twice"):
        mme.read_answers(lines(tmp_path / "said.jsonl", said, said), tmp_path)


def test_one_answer_has_no_interval(tmp_path: Path) -> None:
    (review,) = get("llava_bench").score(lines(tmp_path / "a.jsonl", {"tuple": [8, 6]}), None)  # type: ignore[misc]
    found = review.figures["all"]
    assert (list(review.figures), found.value, found.n, found.low) == (["all"], 75.0, 1, None)
    assert mme.score(answers("yes", "no")).figures["count"].low is None


@pytest.mark.parametrize("points", [[0.0001, 2], [True, 2], [1e400, 2], [float("nan"), 2]])
def test_points_that_are_no_grades_are_named(tmp_path: Path, points: list[float]) -> None:
    with pytest.raises(InputError, match="review 1"):
        get("llava_bench").score(lines(tmp_path / "a.jsonl", {"tuple": points}), None)  # type: ignore[misc]


@pytest.mark.parametrize("capability", [5, None, [], "ocr,flying"])
def test_unknown_capabilities_are_named(tmp_path: Path, capability: object) -> None:
    (tmp_path / "mm-vet.json").write_text(json.dumps({"v1_0": {"capability": capability}}))
    grades = tmp_path / "m_gpt-grade-1runs.json"
    grades.write_text(json.dumps({"v1_0": {"score": [1.0]}}), "utf-8-sig")
    with pytest.raises(InputError, match="is none of rec"):
        get("mm_vet").score(grades, tmp_path)  # type: ignore[misc]


def test_the_label_file_is_not_taken_for_answers(tmp_path: Path) -> None:
    path = tmp_path / "coco_pope_random.json"
    path.write_text(json.dumps({"question_id": 1, "image": "a.jpg", "text": "Is there a cat?", "label": "yes"}) + "\n")
    with pytest.raises(InputError, match="a record has no 'answer'"):
        get("pope").score(path, None)  # type: ignore[misc]


# LLaVA-Bench


def test_llava_bench_divides_the_rounded_means() -> None:
    found = llava_bench.score([("llava_bench_conv", 9, 6), ("llava_bench_conv", 9, 7), ("llava_bench_detail", 8, 8)])
    assert found.figures["conv"].value == pytest.approx(6.5 / 9 * 100)
    assert found.figures["all"].value == 7 / 8.667 * 100
    assert found.figures["all"].n == 3
    assert found.notes == ("3 of 60 reviews",)


def test_a_review_that_was_not_understood_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text(json.dumps({"category": "llava_bench_conv", "tuple": [-1, -1]}) + "\n")
    with pytest.raises(InputError, match=r"review 1: points \[-1, -1\] are no grades"):
        llava_bench.read_reviews(path)


@pytest.mark.parametrize(
    ("model", "each", "published"),
    [("7b", [64.7, 65.3, 66.3], 65.4), ("13b", [72.8, 72.7, 72.1], 72.5)],
)
def test_llava_bench_scores_are_those_of_llava_1_5s_table(
    data_folder: Path, model: str, each: list[float], published: float
) -> None:
    reviews = data_folder / "llava_eval" / "llava-bench-in-the-wild" / "reviews"
    found = [
        llava_bench.score(llava_bench.read_reviews(reviews / f"llava-v1.5-{model}-eval{i}.jsonl")) for i in (1, 2, 3)
    ]
    assert [scores.printed("all") for scores in found] == each
    assert round(sum(each) / 3, 1) == published  # the table has the mean of the printed scores
    assert [found[0].figures[c].n for c in ("conv", "detail", "complex")] == [17, 15, 28]


# The command


def test_the_command_scores_a_folder_of_answers_as_json(tmp_path: Path) -> None:
    for name in ("one", "two"):
        review = {"category": "llava_bench_conv", "tuple": [8, 6]}
        (tmp_path / f"{name}.jsonl").write_text(json.dumps(review) + "\n")
    run = CliRunner().invoke(app, ["benchmark", "score", "llava_bench", str(tmp_path), "--json"])
    assert run.exit_code == 0, run.output
    told = json.loads(run.stdout)
    assert [a["name"] for a in told["answers"]] == ["one", "two"]
    assert told["answers"][0]["figures"]["all"]["value"] == 75


def test_the_command_says_which_benchmarks_can_be_scored(tmp_path: Path) -> None:
    run = CliRunner().invoke(app, ["benchmark", "score", "figstep", str(tmp_path)])
    assert isinstance(run.exception, InputError)
    assert "These have one: mm_vet, mme, llava_bench, pope." in str(run.exception)
