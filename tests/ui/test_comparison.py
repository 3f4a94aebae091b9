"""One question, answered without a defence and behind it: both answers are the model's own, with what they took."""

from __future__ import annotations

import pytest
import torch

from davsp.data.query import Query
from davsp.defences.gate import Gate
from davsp.defences.gate_facts import GateFacts
from davsp.defences.stored import BaseModelFacts
from davsp.defences.textual import SafetyPrefix
from davsp.errors import ArtefactError, InputError
from davsp.imaging.opening import open_image
from davsp.models.base import VisionLanguageModel
from davsp.models.probe import Probe
from davsp.training.batches import REFUSAL
from davsp.training.vector import HarmfulnessVector, project
from davsp.ui.comparison import Comparison, table_of

LAYER = 4


@pytest.fixture
def query(queries: tuple[list[Query], list[Query]]) -> Query:
    return queries[0][0]


def gate(model: VisionLanguageModel, vector: HarmfulnessVector, threshold: float) -> Gate:
    facts = GateFacts(
        kind="gate", name="gate", base_model=BaseModelFacts.of(model), config={}, data={}, metrics={},
        layers=(LAYER,), threshold=threshold, kinds=[], familiar=0.0, flagged={}, caught={}, curve={},
    )  # fmt: skip
    return Gate(facts, Probe.at(LAYER, vector.direction(LAYER)))


def test_both_answers_are_the_models_own(model: VisionLanguageModel, query: Query) -> None:
    undefended, defended = Comparison(model, SafetyPrefix(), 8).ask(open_image(query.image), query.question)
    expected = model.generate([query, SafetyPrefix().defend(query)], 8)
    assert [undefended.text, defended.text] == expected
    assert defended.cost.input_tokens > undefended.cost.input_tokens > 0  # type: ignore[operator]
    assert min(undefended.seconds, defended.seconds) > 0
    assert undefended.projection is None


@pytest.mark.parametrize(("margin", "refused"), [(-0.01, True), (0.01, False)])
def test_projections_are_shown_against_the_gates_threshold(
    model: VisionLanguageModel, vector: HarmfulnessVector, query: Query, margin: float, refused: bool
) -> None:
    projection = float(project(model, [query], Probe.at(LAYER, vector.direction(LAYER)), batch_size=1)[0])
    behind = Comparison(model, gate(model, vector, projection + margin), 8)
    undefended, defended = behind.ask(open_image(query.image), query.question)
    assert undefended.projection == pytest.approx(projection, abs=1e-3)
    assert defended.projection == pytest.approx(projection, abs=1e-3)
    assert defended.text == (REFUSAL if refused else undefended.text)
    assert undefended.text != REFUSAL
    assert f"{projection + margin:.3f} or below" in behind.says_of_projections


def test_the_preview_is_what_the_model_sees_behind_the_defence(model: VisionLanguageModel, query: Query) -> None:
    image = open_image(query.image)
    assert Comparison(model, SafetyPrefix()).preview(image, query.question).tobytes() == image.tobytes()


def test_the_table_has_a_row_for_each_figure(model: VisionLanguageModel, query: Query) -> None:
    rows = table_of(*Comparison(model, SafetyPrefix(), 2).ask(open_image(query.image), query.question))
    assert [row[0] for row in rows] == ["projection", "seconds", "calls of the model", "tokens read", "tokens written"]
    assert rows[0][1:] == ["-", "-"]
    assert rows[4][1:] == ["2", "2"]


def test_a_defence_of_another_model_and_an_empty_question_are_refused(
    model: VisionLanguageModel, vector: HarmfulnessVector, query: Query
) -> None:
    mine = gate(model, vector, 0.0)
    facts = mine.facts.model_copy(
        update={"base_model": mine.facts.base_model.model_copy(update={"hidden_size": 7, "weights": None})}
    )
    with pytest.raises(ArtefactError, match="hidden_size"):
        Comparison(model, Gate(facts, Probe.at(LAYER, torch.zeros(7))))
    with pytest.raises(InputError, match="question is empty"):
        Comparison(model, SafetyPrefix()).ask(open_image(query.image), " ")
