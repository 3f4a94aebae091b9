"""results.json and transcripts.jsonl: what is written, what is read, and what is refused.

`python -m tests.test_results` renews docs/results-schema.json.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from davsp.errors import InputError
from davsp.rates import Cost, Figure, Rate, Rates
from davsp.results import (
    BenchmarkFacts,
    JudgeFacts,
    Results,
    TranscriptRecord,
    read_results,
    read_transcripts,
    write_results,
    write_transcripts,
)
from davsp.util import files

SCHEMA = Path(__file__).parents[1] / "docs" / "results-schema.json"
RATE = {"rate": 0.5, "n": 4, "low": 0.15, "high": 0.85, "unscored": 1}
NOTHING = {"rate": None, "n": 0, "low": None, "high": None, "unscored": 0}
COST = {"n": 5, "calls": 1.0, "input_tokens": 84.2, "output_tokens": None, "helper_calls": 0.0, "seconds": 0.01}
FIRST_VERSION: dict[str, Any] = {
    "model": "a/model",
    "seed": 3,
    "queries": 5,
    "max_new_tokens": 20,
    "defences": {"none": {"rsr": {"sd": RATE}, "benign_accuracy": {"sd": NOTHING}, "over_refusal": {}}},
    "unscored": {"none": 1},
    "seconds": {"none": 1.25},
    "versions": {"davsp": "0.1.0"},
}
"""As version 0.1.0 wrote it."""
CONTENT: dict[str, Any] = {
    "model": "a/model",
    "seed": 3,
    "queries": 5,
    "max_new_tokens": 20,
    "judge": {"name": "llm", "model": "openai/x"},
    "defences": FIRST_VERSION["defences"],
    "unscored": {"none": 1},
    "cost": {"none": COST},
    "seconds": {"none": 1.25},
    "versions": {"davsp": "0.2.0"},
}
OF_BENCHMARK: dict[str, Any] = {
    **CONTENT,
    "benchmark": {
        "name": "mme",
        "title": "MME",
        "variant": "all",
        "purpose": "usefulness",
        "licence": "none",
        "citation": "Fu et al.",
        "content": "Harmless.",
        "published": 2374,
        "dropped": ["a: no image"],
        "notes": [],
    },
    "scores": {
        "none": {
            "total": {"value": 1800.5, "n": 5, "low": 1700.0, "high": 1900.0, "interval": "bootstrap"},
            "std": {"value": 1.0, "n": 1, "low": None, "high": None, "interval": ""},
        }
    },
}


def schema() -> dict[str, Any]:
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Results.model_json_schema()}


def written(folder: Path, content: object) -> Path:
    (folder / "results.json").write_text(json.dumps(content))
    return folder


# --- results.json


@pytest.mark.parametrize("content", [CONTENT, OF_BENCHMARK], ids=["queries", "benchmark"])
def test_what_is_read_is_written_again_to_the_letter(tmp_path: Path, content: dict[str, Any]) -> None:
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    (tmp_path / "results.json").write_text(text)
    results = read_results(tmp_path)
    write_results(tmp_path / "again", results)
    assert (tmp_path / "again" / "results.json").read_text() == text
    assert read_results(tmp_path / "again") == results


def test_results_made_in_python_are_those_of_the_file() -> None:
    rates = Rates.model_validate(CONTENT["defences"]["none"])
    made = Results(
        model="a/model",
        seed=3,
        queries=5,
        max_new_tokens=20,
        judge=JudgeFacts(name="llm", model="openai/x"),
        defences={"none": rates},
        unscored={"none": 1},
        cost={"none": Cost(**COST)},
        seconds={"none": 1.25},
        versions={"davsp": "0.2.0"},
        benchmark=BenchmarkFacts(**OF_BENCHMARK["benchmark"]),
        scores={"none": {name: Figure(**found) for name, found in OF_BENCHMARK["scores"]["none"].items()}},
    )
    assert made == Results.model_validate(OF_BENCHMARK)
    assert json.dumps(made.to_json()) == json.dumps(OF_BENCHMARK)
    assert rates.rsr["sd"] == Rate(**RATE)


def test_results_of_the_first_version_are_read(tmp_path: Path) -> None:
    results = read_results(written(tmp_path, FIRST_VERSION))
    assert (str(results.judge), results.cost, results.benchmark, results.scores) == ("rules", {}, None, {})


def test_a_key_of_a_later_version_is_in_nobody_s_way(tmp_path: Path) -> None:
    assert read_results(written(tmp_path, {**CONTENT, "later": 1})) == Results.model_validate(CONTENT)


def test_a_score_that_is_no_number_is_kept(tmp_path: Path) -> None:
    content = json.loads(json.dumps(OF_BENCHMARK))
    content["scores"]["none"]["total"] |= {"value": math.nan, "low": math.nan}
    results = read_results(written(tmp_path, content))
    write_results(tmp_path, results)
    figure = read_results(tmp_path).scores["none"]["total"]
    assert math.isnan(figure.value) and figure.low is not None and math.isnan(figure.low)


def test_a_rate_is_written_with_its_interval_or_not_at_all() -> None:
    rate = Rate.of(229, 240)
    assert (rate.in_percent(), rate.in_percent(0, " %")) == ("95.4 [92.0, 97.4]", "95 % [92, 97]")
    assert Rate.of(0, 0).in_percent() is None


def test_a_judge_is_told_with_its_model() -> None:
    assert str(JudgeFacts(name="rules", model=None)) == "rules"
    assert str(JudgeFacts(name="llm", model="openai/x")) == "llm (openai/x)"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda c: c.pop("model"), r"model: field required"),
        (lambda c: c.update(seed="3"), r"seed: "),
        (lambda c: c.update(queries=0), r"queries: "),
        (lambda c: c.update(defences={}), r"defences: "),
        (lambda c: c.update(unscored={}), r"unscored lacks 'none'\. Run the evaluation again"),
        (lambda c: c.update(cost={"other": COST}), r"cost lacks 'none'"),
        (lambda c: c["defences"]["none"].pop("rsr"), r"defences\.none\.rsr: field required"),
        (lambda c: c["defences"]["none"]["rsr"]["sd"].pop("rate"), r"defences\.none\.rsr\.sd\.rate: "),
        (lambda c: c["defences"]["none"]["rsr"]["sd"].update(rate=2.0), r"defences\.none\.rsr\.sd\.rate: "),
        (lambda c: c["defences"]["none"]["rsr"]["sd"].update(rate=math.nan), r"defences\.none\.rsr\.sd\.rate: "),
        (
            lambda c: c["defences"]["none"]["rsr"]["sd"].update(rate=None),
            r"defences\.none\.rsr\.sd: rate, low and high go with an n",
        ),
        (lambda c: c["defences"]["none"]["rsr"]["sd"].update(n=-4), r"defences\.none\.rsr\.sd\.n: "),
        (lambda c: c["defences"]["none"]["rsr"]["sd"].update(more=1), r"defences\.none\.rsr\.sd\.more: "),
        (lambda c: c["scores"]["none"]["total"].update(value="1800"), r"scores\.none\.total\.value: "),
        (lambda c: c["benchmark"].pop("title"), r"benchmark\.title: "),
    ],
)
def test_what_is_damaged_is_named(tmp_path: Path, damage: Callable[[dict[str, Any]], None], message: str) -> None:
    content = json.loads(json.dumps(OF_BENCHMARK))
    damage(content)
    with pytest.raises(InputError, match=rf"results\.json is damaged: {message}"):
        read_results(written(tmp_path, content))


@pytest.mark.parametrize(("text", "message"), [("{", "cannot be read"), ("[1]", "is damaged"), ("9" * 5000, "read")])
def test_a_file_of_something_else_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "results.json").write_text(text)
    with pytest.raises(InputError, match=rf"results\.json.*{message}"):
        read_results(tmp_path)


def test_a_folder_without_results_and_a_file_too_large_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match="holds no finished evaluation: run `davsp evaluate`"):
        read_results(tmp_path)
    monkeypatch.setattr(files, "MOST_BYTES", 100)
    with pytest.raises(InputError, match="larger than"):
        read_results(written(tmp_path, CONTENT))


def test_the_schema_in_the_documents_is_that_of_the_model() -> None:
    assert json.loads(SCHEMA.read_text("utf-8")) == schema(), "renew it: python -m tests.test_results"


def test_every_key_is_described_in_the_schema() -> None:
    parts = [schema(), *schema()["$defs"].values()]
    assert all(key.get("description") for part in parts for key in part["properties"].values())


# --- rates


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    # 81 of 263 is the worked example of Newcombe (1998), table I; the edges have a closed form.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (20, 20, 0.8389, 1.0)],
)
def test_a_rate_s_interval_agrees_with_published_values(successes: int, n: int, low: float, high: float) -> None:
    rate, figure = Rate.of(successes, n), Figure.share(successes, n)
    assert (rate.rate, rate.n) == (figure.value, figure.n) == (successes / n, n)
    assert (rate.low, rate.high) == (figure.low, figure.high) == pytest.approx((low, high), abs=5e-5)
    assert figure.interval == "wilson"


def test_a_rate_s_interval_ends_where_the_score_test_is_just_significant() -> None:
    rate, n, p = Rate.of(15, 50), 50, 0.3
    for bound in (rate.low, rate.high):
        assert bound is not None
        assert abs(p - bound) / math.sqrt(bound * (1 - bound) / n) == pytest.approx(1.959964, abs=1e-5)


def test_the_interval_of_none_begins_at_zero_and_that_of_all_ends_at_one() -> None:
    for n in range(1, 300):
        assert Rate.of(0, n).low == 0
        assert Rate.of(n, n).high == 1


def test_a_rate_of_nothing_is_none_and_not_zero() -> None:
    rate = Rate.of(0, 0, unscored=3).model_dump()
    assert rate == {"rate": None, "n": 0, "low": None, "high": None, "unscored": 3, "blocked": 0}


# --- transcripts.jsonl


def test_transcripts_are_read_as_they_were_written(tmp_path: Path) -> None:
    lines = [
        {
            "id": "q1",
            "group": "malicious/sd",
            "malicious": True,
            "question": "wie geht \u2028 das ?",
            "reference": None,
            "answers": {"none": {"text": "half a pair: \ud800", "verdict": "not resisted", "error": None}},
        },
        {
            "id": "q2",
            "group": "",
            "malicious": False,
            "question": "?",
            "reference": "red",
            "answers": {"none": {"text": "", "verdict": "unscored", "error": "it broke"}},
        },
    ]
    write_transcripts(tmp_path, map(TranscriptRecord.model_validate, lines))
    text = (tmp_path / "transcripts.jsonl").read_text("utf-8")
    assert [json.loads(line) for line in text.split("\n")[:-1]] == lines
    assert "wie geht \u2028 das" in text
    read = [record.model_dump(mode="json") for record in read_transcripts(tmp_path)]
    assert read == [{**line, "scoring": None} for line in lines]


def test_transcripts_of_the_first_version_are_read(tmp_path: Path) -> None:
    line = {"id": "q", "group": "a", "malicious": True, "question": "?", "answers": {}}
    (tmp_path / "transcripts.jsonl").write_text(json.dumps(line) + "\n")
    [record] = read_transcripts(tmp_path)
    assert record.reference is None


if __name__ == "__main__":
    files.write_json(SCHEMA, schema())
