"""Prepared queries: what they teach."""

from __future__ import annotations

import pytest
from PIL import Image

from davsp.data.query import Query
from davsp.models.base import VisionLanguageModel
from davsp.prompts.layouts import BorderLayout
from davsp.training.batches import PreparedQueries


@pytest.mark.parametrize(("reference", "taught"), [("red <OR> dark red", "red"), ("red <AND> blue", "red and blue")])
def test_marks_between_right_answers_are_not_taught(model: VisionLanguageModel, reference: str, taught: str) -> None:
    query = Query("b", Image.new("RGB", (40, 30)), "what colour ?", reference)
    prepared = PreparedQueries(model, [query], BorderLayout(112, 112, border=14), "")
    assert prepared.answers[0].tolist() == model.answer_ids(taught)
