"""UniGuard adds a bounded change to images and a safety text to questions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from davsp.data.query import Query
from davsp.defences import load_defence
from davsp.defences.base import FittingData
from davsp.defences.uniguard import SENTENCE, Text, TextFitting, UniGuard, UniGuardOptions
from davsp.imaging.opening import open_image
from davsp.models.base import VisionLanguageModel
from davsp.searches.signed_steps import ChangeFitting
from davsp.testbed.corpora import forbidden_answers
from davsp.training.run_state import read_metrics

Sets = tuple[list[Query], list[Query]]
RED = Image.new("RGB", (40, 30), "red")


def test_uniguard_is_saved_and_adds_its_change_and_its_sentence(
    model: VisionLanguageModel, queries: Sets, tmp_path: Path
) -> None:
    options = UniGuardOptions(steps=2, eps=0.1)
    data = FittingData(queries[0], corpus=forbidden_answers())
    made = UniGuard.fit(model, options, data, tmp_path / "guard", quiet=True)
    read = load_defence(tmp_path / "guard")
    assert isinstance(read, UniGuard)
    query = Query("q", RED, "what is it ?")
    defended = read.defend(query)
    assert defended.question == f"what is it ?\n{SENTENCE}"
    seen = open_image(defended.image)
    assert seen.tobytes() == open_image(made.defend(query).image).tobytes()
    assert made.visual is not None
    plain = np.asarray(made.visual.layout.interior(RED)).astype(int)
    assert 0 < np.abs(np.asarray(seen).astype(int) - plain).max() <= round(0.1 * 255)
    assert read.name == "guard"
    assert read.identity == made.identity
    assert "UniGuard" in (tmp_path / "guard" / "README.md").read_text()


def test_uniguards_optimised_text_makes_the_corpus_less_likely(
    model: VisionLanguageModel, queries: Sets, tmp_path: Path
) -> None:
    options = UniGuardOptions(
        steps=1, text=Text.OPTIMISED, text_length=4, text_steps=1, candidates=12, top_k=8, chunk=12
    )
    sentences = forbidden_answers()[:1]
    data = FittingData(queries[0][:1], corpus=sentences)
    made = UniGuard.fit(model, options, data, tmp_path / "guard", quiet=True)
    assert made.visual is not None and made.suffix == ""
    assert len(model.tokenizer(made.prefix, add_special_tokens=False)["input_ids"]) == 4
    [record] = read_metrics(tmp_path / "guard" / "text")
    image = open_image(queries[0][0].image)
    change = ChangeFitting(model, options, sentences, [image], raising=True)
    change.restore({"change": made.visual.pixels})
    text = TextFitting(change, options)
    assert record["corpus_loss"] > -text.search.losses([text.text], text.cases(0)).item(), "than after the first text"
