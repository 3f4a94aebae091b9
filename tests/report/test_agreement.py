"""Agreement of judges with people and with each other."""

from pathlib import Path

import pytest

from davsp.errors import InputError
from davsp.report.agreement import between_judges, read_validations
from davsp.report.collect import collect, with_answers
from tests.evaluations import FOUR, N, R, U, write_evaluation, write_validation


def test_a_judge_s_validation_is_read_by_source_model(tmp_path: Path) -> None:
    found = read_validations([write_validation(tmp_path)])
    assert [(f.judge, f.question, f.labels, f.source, f.figures.n) for f in found] == [
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
    [found] = between_judges([with_answers(e) for e in collect([tmp_path])])
    assert found.judges == ("rules", "llm (openai/x)")
    assert (found.figures.n, found.figures.unscored, found.figures.accuracy.rate) == (3, 1, 2 / 3)
    assert found.figures.kappa.value == pytest.approx(0.4)
    lines = (other / "transcripts.jsonl").read_text().splitlines()
    lines[0] = lines[0].replace("an answer", "another")
    (other / "transcripts.jsonl").write_text("\n".join(lines))
    [found] = between_judges([with_answers(e) for e in collect([tmp_path])])
    assert found.figures.n == 2
