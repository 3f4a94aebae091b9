"""Prepared queries: what they teach."""

from __future__ import annotations

import pytest
from PIL import Image

from davsp.data.conversation import Message
from davsp.data.query import Query
from davsp.errors import InputError
from davsp.models.base import VisionLanguageModel
from davsp.prompts.layouts import BorderLayout
from davsp.prompts.text import with_prefix
from davsp.training.batches import PreparedQueries


@pytest.mark.parametrize(("reference", "taught"), [("red <OR> dark red", "red"), ("red <AND> blue", "red and blue")])
def test_marks_between_right_answers_are_not_taught(model: VisionLanguageModel, reference: str, taught: str) -> None:
    query = Query("b", Image.new("RGB", (40, 30)), "what colour ?", reference)
    prepared = PreparedQueries(model, [query], BorderLayout(112, 112, border=14), "")
    assert prepared.answers[0].tolist() == model.answer_ids(taught)


LAYOUT = BorderLayout(112, 112, border=14)
RED, BLUE, GREEN = (Image.new("RGB", (40, 30), colour) for colour in ("red", "blue", "green"))


def test_a_conversation_is_prepared_with_all_its_images_and_the_prefix_before_its_last_question(
    model: VisionLanguageModel,
) -> None:
    talk = Query(
        "talk",
        messages=[
            Message("user", (RED, "what is it ?", BLUE)),
            Message("assistant", "one"),
            Message("user", "and now ?"),
        ],
        answer="two",
    )
    prepared = PreparedQueries(model, [Query("short", GREEN, "what ?", "red"), talk], LAYOUT, "be careful .")
    batch = prepared.batch([1, 0], answered=True)
    assert batch.tokens.images == (2, 1)
    colours = [tuple(round(float(c), 1) for c in image[:, 42, 42]) for image in batch.interior]
    assert colours == [(1, 0, 0), (0, 0, 1), (0, 0.5, 0)]
    expected = talk.with_question(with_prefix("and now ?", "be careful .")).messages
    assert prepared.prompts[1].tolist() == model.chat_ids(expected, [(112, 112)] * 2)
    assert prepared.prompts[0].tolist() == model.prompt_ids("what ?", "be careful .")


@pytest.mark.parametrize(
    "query",
    [
        Query("q", question="what ?", answer="red"),
        Query("q", messages=[Message("user", (RED, "what ?")), Message("tool", BLUE)], answer="red"),
    ],
)
def test_a_query_that_no_border_lies_around_is_not_trained_on(model: VisionLanguageModel, query: Query) -> None:
    with pytest.raises(InputError, match="query 'q' has no image, or one that is not a user's"):
        PreparedQueries(model, [query], LAYOUT, "")
