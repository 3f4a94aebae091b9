"""AdaShield puts an instruction beside the question: one for all, or the nearest of a pool."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from davsp.data.query import Query
from davsp.defences import load_defence
from davsp.defences.adashield import AdaShieldA, AdaShieldS
from davsp.defences.adashield_instruction import INSTRUCTION
from davsp.defences.adashield_refinement import AdaShieldAOptions
from davsp.defences.base import Exchange, FittingData
from davsp.defences.helpers import Clip
from davsp.errors import ArtefactError, ModelError
from davsp.imaging.opening import open_image
from davsp.models.base import VisionLanguageModel
from davsp.models.requests import Request, Response
from tests.defences.refining import CHECKS, TRAINING, Target, knowing

RED = Image.new("RGB", (40, 30), "red")
DATA = FittingData(TRAINING, CHECKS)


def target(model: VisionLanguageModel) -> Any:
    return Target(model)


def test_adashield_s_puts_its_instruction_first_or_between() -> None:
    query = Query("q", RED, "what ?")
    first, between = load_defence("adashield-s"), load_defence("adashield-s:order=between")
    assert isinstance(first, AdaShieldS) and isinstance(between, AdaShieldS)
    assert first.defend(query).question == f"{INSTRUCTION}\nwhat ?"
    assert between.defend(query).question == f"what ?\n{INSTRUCTION}\nwhat ?"
    assert (first.name, between.name) == ("adashield-s", "adashield-s:order=between")


def test_adashield_a_is_saved_and_picks_the_instruction_of_the_nearest_query(
    model: VisionLanguageModel, clip_folder: Path, tmp_path: Path
) -> None:
    options = AdaShieldAOptions(defender="stand-in", clip=str(clip_folder))
    AdaShieldA.fit(target(model), options, DATA, tmp_path / "ada", defender=knowing, quiet=True)
    read = load_defence(tmp_path / "ada")
    assert isinstance(read, AdaShieldA)
    assert [entry.instruction for entry in read.facts.pool] == ["look for weapons .", "look for money ."]
    assert torch.allclose(read.embeddings.norm(dim=1), torch.ones(2))
    for query, word in zip(TRAINING, ("weapons", "money"), strict=True):
        assert read.defend(query).question == f"look for {word} .\n{query.question}"
    other = Query("q", Image.new("RGB", (30, 30), "blue"), "a bank or a shop ?")
    clip = Clip(str(clip_folder))
    embedded = [clip.embed(open_image(q.image), q.question) for q in (*TRAINING, other)]
    nearest = 0 if embedded[0] @ embedded[2] > embedded[1] @ embedded[2] else 1
    assert ("weapons", "money")[nearest] in read.defend(other).question


def test_finding_the_instruction_is_counted_as_a_call_of_a_helper(
    model: VisionLanguageModel, clip_folder: Path, tmp_path: Path
) -> None:
    options = AdaShieldAOptions(defender="stand-in", clip=str(clip_folder))
    made = AdaShieldA.fit(target(model), options, DATA, tmp_path, defender=knowing, quiet=True)
    asked: list[Request] = []

    async def send(request: Request, limit: int | None) -> Response:
        asked.append(request)
        return Response("no .", True, 1, 1)

    exchange = Exchange(send)
    assert asyncio.run(made.answer(TRAINING[0], exchange)) == "no ."
    assert (exchange.cost.calls, exchange.cost.helper_calls) == (1, 1)
    assert [request.question for request in asked] == [made.defend(TRAINING[0]).question]


def test_refinement_goes_on_after_the_defender_failed(
    model: VisionLanguageModel, clip_folder: Path, tmp_path: Path
) -> None:
    options = AdaShieldAOptions(defender="stand-in", clip=str(clip_folder))

    def broken(prompt: str) -> str:
        if "Scenario: fraud" in prompt:
            raise ConnectionError("no route to the defender")
        return knowing(prompt)

    with pytest.raises(ModelError, match=r"no route to the defender(.|\n)*goes on"):
        AdaShieldA.fit(target(model), options, DATA, tmp_path / "ada", defender=broken, quiet=True)
    second = target(model)
    made = AdaShieldA.fit(second, options, DATA, tmp_path / "ada", defender=knowing, quiet=True)
    assert len(made.facts.pool) == 2
    assert not any("bomb" in question for question in second.asked), "the first query is done"


def test_no_accepted_instruction_is_an_error_and_no_defence(
    model: VisionLanguageModel, clip_folder: Path, tmp_path: Path
) -> None:
    options = AdaShieldAOptions(defender="stand-in", clip=str(clip_folder), rounds=1)
    with pytest.raises(ModelError, match="no instruction was accepted"):
        AdaShieldA.fit(target(model), options, DATA, tmp_path, defender=lambda p: "", quiet=True)
    with pytest.raises(ArtefactError, match="holds no defence"):
        load_defence(tmp_path)
