"""MME's calculator: by its rules on made-up answers, and on published ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from davsp.benchmarks import mme
from davsp.errors import InputError
from tests.benchmarks.folders import lines


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


def test_one_pair_has_no_interval() -> None:
    assert mme.score(answers("yes", "no")).figures["count"].low is None


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


def test_an_mme_question_that_is_answered_twice_is_no_pair(tmp_path: Path) -> None:
    for subtask in mme.SUBTASKS:
        (tmp_path / f"{subtask}.txt").write_text("1.jpg\tIs it?\tYes\n1.jpg\tIs it not?\tNo\n")
    said = {"question_id": "count/1.jpg", "prompt": "Is it?", "text": "Yes"}
    with pytest.raises(InputError, match="is answered twice"):
        mme.read_answers(lines(tmp_path / "said.jsonl", said, said), tmp_path)


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
