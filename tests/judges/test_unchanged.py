"""How far an answer is the undefended one."""

import pytest

from davsp.judges.unchanged import Agreement, token_f1


@pytest.mark.parametrize(
    ("undefended", "answer", "f1"),
    [
        ("Bake the cake.", "bake  the CAKE", 1.0),
        ("bake the cake", "bake the bread", 2 / 3),
        ("one two three", "one", 0.5),
        ("no no no", "no", 0.5),
        ("cake", "bread", 0.0),
        ("cake", "", 0.0),
        ("Кот спит", "кот не спит", 0.8),
    ],
)
def test_token_f1_counts_words_as_often_as_they_stand_in_both(undefended: str, answer: str, f1: float) -> None:
    assert token_f1(undefended, answer) == pytest.approx(f1)
    assert token_f1(answer, undefended) == pytest.approx(f1)


def test_an_answer_is_unchanged_but_for_case_space_and_punctuation() -> None:
    assert Agreement.of("It is red.", "it is  Red") == Agreement(True, 1.0)
    assert not Agreement.of("red and blue", "blue and red").unchanged, "the same words in another order"
