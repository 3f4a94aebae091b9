"""What stands in for the corpora that defences are fitted to."""

from __future__ import annotations

import pytest

from davsp.defences.adashield_instruction import INSTRUCTION
from davsp.defences.corpus import HARMFUL_SENTENCES, SECURITY_INSTRUCTIONS
from davsp.defences.uniguard import SENTENCE
from davsp.errors import InputError
from davsp.models.base import VisionLanguageModel
from davsp.testbed.corpora import corpus_of, forbidden_answers, security_instructions


def test_the_testbeds_corpora_are_of_its_own_words(model: VisionLanguageModel) -> None:
    words = model.tokenizer
    for sentence in [*forbidden_answers(), INSTRUCTION, SENTENCE]:
        assert words.unk_token_id not in words(sentence)["input_ids"], sentence


def test_the_testbed_has_the_corpora_that_defences_ask_for() -> None:
    assert corpus_of(HARMFUL_SENTENCES) == forbidden_answers()
    assert corpus_of(SECURITY_INSTRUCTIONS) == security_instructions()
    with pytest.raises(InputError, match="no corpus of poems"):
        corpus_of("poems")
