"""The one contract of defences: what a subclass must say, and what the rest comes to where it says nothing."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from davsp.data.query import Query
from davsp.defences.base import Defence, Exchange, FittingData, NoOptions, QueryCost, RewritingDefence
from davsp.defences.ecso import Ecso
from davsp.defences.stored import BaseModelFacts
from davsp.defences.textual import SafetyPrefix, Undefended
from davsp.defences.visual_safety_prompt import VisualSafetyPrompt
from davsp.errors import InputError
from davsp.models.base import VisionLanguageModel
from davsp.models.requests import Request, Response
from davsp.prompts.layouts import BorderLayout
from davsp.prompts.visual import VisualPrompt

QUERY = Query("q", Image.new("RGB", (40, 30), "red"), "what ?")


class Shouting(RewritingDefence):
    """As little as a defence can be."""

    kind = name = "shouting"
    identity = "1"

    def defend(self, query: Query) -> Query:
        if not query.question:
            raise ValueError("there is nothing to shout")
        return query.with_question(query.question.upper())


def exchange() -> tuple[Exchange, list[Request]]:
    asked: list[Request] = []

    async def send(request: Request, limit: int | None) -> Response:
        asked.append(request)
        return Response("it is red .", True, 3, 4)

    return Exchange(send), asked


def test_a_rewriting_defence_says_how_it_rewrites_and_nothing_else() -> None:
    defence = Shouting()
    given, asked = exchange()
    assert asyncio.run(defence.answer(QUERY, given)) == "it is red ."
    assert asked == [Request("WHAT ?", QUERY.image)]
    assert given.cost == QueryCost(calls=1, input_tokens=3, output_tokens=4, helper_calls=0)
    assert defence.preview(QUERY).question == "WHAT ?"


def test_nothing_is_sent_when_rewriting_fails() -> None:
    given, asked = exchange()
    with pytest.raises(ValueError, match="nothing to shout"):
        asyncio.run(Shouting().answer(QUERY.with_question(""), given))
    assert asked == [] and given.cost.calls == 0


def test_a_defence_suits_every_model_and_needs_nothing_unless_it_says_so(model: VisionLanguageModel) -> None:
    Shouting().check(model)
    declared = (Defence.begins_answers, Defence.model_specific, Defence.fits_queries, Defence.fits_corpus)
    assert declared == (False, False, False, None)
    assert Ecso().preview(QUERY) is QUERY, "it asks more than once: the user's own query is shown"


def test_what_a_defence_leaves_out_is_a_clear_error(model: VisionLanguageModel, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a name is not enough"):
        Shouting.from_options(NoOptions())
    with pytest.raises(InputError, match="shouting is not fitted"):
        Shouting.fit(model, NoOptions(), FittingData(), tmp_path)
    with pytest.raises(InputError, match="shouting is not loaded from folders"):
        Shouting.load(tmp_path)


@pytest.mark.parametrize("missing", ["identity", "defend"])
def test_a_defence_without_identity_or_answer_cannot_be_made(missing: str) -> None:
    said = {"identity": "1", "defend": lambda self, query: query}
    del said[missing]
    with pytest.raises(TypeError, match=missing):
        type("Partial", (RewritingDefence,), said)()


def test_identities_tell_apart_whatever_changes_a_query(model: VisionLanguageModel) -> None:
    layout = BorderLayout(112, 112, border=14)
    pixels = torch.rand(3, 112, 112, generator=torch.manual_seed(0)) * layout.mask()
    other = pixels.clone()
    other[0, 0, 0] += 0.1
    prompt = VisualSafetyPrompt("mine", VisualPrompt(layout, pixels), base_model=BaseModelFacts.of(model))
    wider = VisualPrompt(BorderLayout(112, 112, border=28), pixels)
    kinds = [
        prompt,
        replace(prompt, prefix="be careful ."),
        replace(prompt, visual=VisualPrompt(layout, other)),
        replace(prompt, visual=wider),
        replace(prompt, visual=None, prefix="be careful ."),
        Undefended(),
        SafetyPrefix("be careful , please ."),
    ]
    suffixed = SafetyPrefix("")
    suffixed.suffix = "be careful ."
    kinds.append(suffixed)
    assert len({kind.identity for kind in kinds}) == len(kinds)
    assert replace(prompt, name="yours").identity == prompt.identity, "names are told apart by themselves"
