from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from davsp.data.query import REQUEST, Query
from davsp.errors import ArtefactError, InputError
from davsp.judges.refusal import is_refusal
from davsp.models.base import VisionLanguageModel
from davsp.prompts.layouts import BorderLayout
from davsp.training.batches import REFUSAL, PreparedQueries, Target
from davsp.training.config import TrainConfig
from davsp.training.jobs import make_objectives
from davsp.training.own_answers import own_targets
from davsp.training.vector import HarmfulnessVector

Two = tuple[list[Query], list[Query]]


@pytest.fixture(scope="module")
def unanswered(queries: Two) -> list[Query]:
    return [replace(q, answer=None) for q in queries[0]]


def test_benign_queries_get_what_the_model_says_and_malicious_ones_its_refusal(
    model: VisionLanguageModel, unanswered: list[Query], tmp_path: Path
) -> None:
    own = own_targets(model, unanswered, 12, tmp_path / "own.json", quiet=True)
    assert set(own) == {q.id for q in unanswered}
    benign = [q for q in unanswered if not q.malicious]
    assert [own[q.id].text for q in benign] == model.generate(benign, 12)
    [refusal] = {own[q.id] for q in unanswered if q.malicious}
    assert is_refusal(refusal.text) and refusal.text in model.generate([q for q in unanswered if q.malicious], 12)
    asked = model.respond
    try:
        model.respond = None  # type: ignore[method-assign, assignment]
        assert own_targets(model, unanswered, 12, tmp_path / "own.json", quiet=True) == own
    finally:
        model.respond = asked  # type: ignore[method-assign]
    fewer = own_targets(model, unanswered, 1, tmp_path / "own.json", quiet=True)
    assert [fewer[q.id].text for q in benign] == model.generate(benign, 1)
    (tmp_path / "own.json").write_text("{")
    with pytest.raises(ArtefactError, match="damaged"):
        own_targets(model, unanswered, 12, tmp_path / "own.json", quiet=True)


def test_requests_that_are_known_are_asked_as_text(model: VisionLanguageModel, unanswered: list[Query]) -> None:
    """What is asked says what the refusal is: here, that of a request which the model does not refuse."""
    malicious = [replace(q, metadata={REQUEST: "what is it ?"}) for q in unanswered if q.malicious]
    own = own_targets(model, malicious, 12, quiet=True)
    assert set(own.values()) == {Target(REFUSAL)}


def test_nothing_is_asked_for_queries_that_bring_answers(model: VisionLanguageModel, queries: Two) -> None:
    answered = [replace(q, answer="yes .") for q in queries[0]]
    assert own_targets(model, answered, 12) == {}


def test_the_beginning_of_an_answer_has_no_end(model: VisionLanguageModel, unanswered: list[Query]) -> None:
    layout = BorderLayout(112, 112, border=14)
    query = next(q for q in unanswered if not q.malicious)
    whole, begun = (
        PreparedQueries(model, [query], layout, "", {query.id: Target("it is", finished)}).answers[0].tolist()
        for finished in (True, False)
    )
    assert whole == [*begun, model.tokenizer.eos_token_id]
    empty = PreparedQueries(model, [query], layout, "", {query.id: Target("", finished=False)})
    assert empty.answers[0].tolist() == [model.tokenizer.eos_token_id]  # a mean over no token is no number


def test_two_queries_of_one_id_are_refused(
    model: VisionLanguageModel, vector: HarmfulnessVector, queries: Two, unanswered: list[Query]
) -> None:
    alike = [*unanswered, replace(unanswered[0], malicious=not unanswered[0].malicious)]
    with pytest.raises(InputError, match="occurs twice"):
        make_objectives([(model, vector)], TrainConfig(layer=4), alike, queries[1])


@pytest.mark.parametrize("refusal_share", [0.0, 0.5])
def test_no_refusal_is_asked_for_where_none_is_trained_towards(
    model: VisionLanguageModel,
    vector: HarmfulnessVector,
    queries: Two,
    unanswered: list[Query],
    tmp_path: Path,
    refusal_share: float,
) -> None:
    config = TrainConfig(prefix="", refusal_share=refusal_share, own_answer_tokens=2, layer=4)
    make_objectives([(model, vector)], config, unanswered, queries[1], tmp_path, quiet=True)
    asked = json.loads((tmp_path / "own_answers.json").read_text())["answers"]
    assert set(asked) == {q.id for q in unanswered if not q.malicious or refusal_share}
