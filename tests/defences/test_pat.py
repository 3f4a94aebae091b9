"""PAT searches a text before the question, in turns with an attack after it."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from davsp.data.query import Query
from davsp.defences import load_defence
from davsp.defences.base import FittingData
from davsp.defences.pat import Pat, PatFitting, PatOptions
from davsp.errors import InputError
from davsp.models.base import VisionLanguageModel

Sets = tuple[list[Query], list[Query]]
RED = Image.new("RGB", (40, 30), "red")


QUICK = {"length": 4, "attack_length": 3, "steps": 3, "candidates": 12, "top_k": 8, "chunk": 12}


def test_pat_moves_the_attack_and_then_the_defence(model: VisionLanguageModel, queries: Sets) -> None:
    fitted = PatFitting(model, PatOptions.model_validate(QUICK), queries[0])
    attack, defence = fitted.attack, fitted.defence
    malicious, benign = (
        side[order.take(0, 1)[0]] for side, order in zip((fitted.malicious, fitted.benign), fitted.orders, strict=True)
    )
    before = fitted.search.losses([attack], [fitted._attack_case(malicious)]).item()
    record = fitted.step(0)
    assert (fitted.attack != attack) and (fitted.defence != defence)
    assert record["attack_loss"] < before
    cases = fitted.defence_cases(malicious, benign)
    assert [case.weight for case in cases] == [0.8, 0.2]
    assert record["defence_loss"] == pytest.approx(fitted.search.losses([fitted.defence], cases).item(), rel=1e-4)
    assert record["defence_loss"] < fitted.search.losses([defence], cases).item()
    [attacked], [asked] = (case.messages("DEFENCE") for case in cases)
    assert attacked.text == f"DEFENCE\n{malicious.question} {fitted.search.text(fitted.attack)}"
    assert asked.text == f"DEFENCE\n{benign.question}"


def test_pat_is_saved_as_a_text_before_the_question(model: VisionLanguageModel, queries: Sets, tmp_path: Path) -> None:
    options = PatOptions.model_validate(QUICK)
    made = Pat.fit(model, options, FittingData(queries[0]), tmp_path / "pat", quiet=True)
    read = load_defence(tmp_path / "pat")
    assert isinstance(read, Pat)
    assert read.defend(Query("q", RED, "what ?")).question == f"{made.prefix}\nwhat ?"
    assert len(model.tokenizer(made.prefix, add_special_tokens=False)["input_ids"]) == 4


def test_pat_needs_both_kinds_of_queries(model: VisionLanguageModel, queries: Sets) -> None:
    for kind in (True, False):
        with pytest.raises(InputError, match="give both"):
            PatFitting(model, PatOptions(), [q for q in queries[0] if q.malicious is kind])
