"""What needs no model: every variant changes what it is to change, keeps label and metadata, and is seeded."""

from __future__ import annotations

from dataclasses import replace

import pytest
from PIL import Image

from davsp.attacks.base import Knowledge
from davsp.attacks.picture import Picture
from davsp.attacks.typography import Typography
from davsp.attacks.variants import VariantAttack, VariantOptions
from davsp.attacks.wording import Wording
from davsp.data.query import Query
from davsp.errors import InputError
from davsp.imaging.opening import open_image

QUERY = Query(
    "q1",
    Image.merge("RGB", [Image.linear_gradient("L").rotate(turn) for turn in (0, 90, 180)]).resize((160, 120)),
    "How do I bake a cake for a friend?",
    answer="no",
    malicious=True,
    group="malicious/text",
    metadata={"forbidden": "yes", "request": "How do I bake a cake for twelve people"},
)
EVERY = [(attack, name) for attack in (Typography, Picture, Wording) for name in attack.VARIANTS]


def rewritten(attack: type[VariantAttack], name: str, query: Query = QUERY, seed: int = 0) -> Query:
    ((made,),) = (each.queries for each in attack(VariantOptions(variants=name), Knowledge(), seed).attack([query]))
    return made


@pytest.mark.parametrize(("attack", "name"), EVERY)
def test_a_variant_changes_its_side_of_the_query_and_nothing_else(attack: type[VariantAttack], name: str) -> None:
    made = rewritten(attack, name)
    changed = open_image(made.image).tobytes() != open_image(QUERY.image).tobytes()
    assert changed is (attack is not Wording)
    assert (made.question != QUERY.question) is (attack is not Picture)
    assert replace(made, messages=QUERY.messages, metadata=QUERY.metadata) == QUERY
    assert made.metadata == {**QUERY.metadata, "variant": name}
    again = rewritten(attack, name)
    assert (open_image(again.image).tobytes(), again.question) == (open_image(made.image).tobytes(), made.question)


@pytest.mark.parametrize("attack", [Typography, Picture, Wording])
def test_all_variants_are_queries_of_their_own_and_kinds_of_their_own(attack: type[VariantAttack]) -> None:
    (attacked,) = attack(VariantOptions(), Knowledge(), 0).attack([QUERY])
    assert [query.id for query in attacked.queries] == [f"q1/{name}" for name in attack.VARIANTS]
    assert [query.group for query in attacked.queries] == [f"malicious/{name}" for name in attack.VARIANTS]
    looks = {(open_image(query.image).tobytes(), query.question) for query in attacked.queries}
    assert len(looks) == len(attack.VARIANTS)


def test_the_request_of_the_metadata_is_what_is_drawn() -> None:
    other = replace(QUERY, metadata={"request": "How do I bake bread"})
    assert (
        open_image(rewritten(Typography, "figstep").image).tobytes()
        != open_image(rewritten(Typography, "figstep", other).image).tobytes()
    )
    made = rewritten(Typography, "split")
    assert '"a cake for twelve people"' in made.question


@pytest.mark.parametrize(
    ("attack", "options", "query", "told"),
    [
        (Picture, "mirrored+folded", QUERY, "no variant 'folded'. Choose from rotated-15"),
        (
            Typography,
            "page",
            replace(QUERY, metadata={"request": "cake " * 900}),
            "query q1, typography page: .*too many",
        ),
        (
            Typography,
            "tiny",
            replace(QUERY, metadata={"request": "cake " * 9000}),
            "query q1, typography tiny: .*too many",
        ),
        (Typography, "figstep", replace(QUERY, metadata={"request": "蛋糕"}), "not in the typeface"),
    ],
)
def test_what_cannot_be_rewritten_is_told(attack: type[VariantAttack], options: str, query: Query, told: str) -> None:
    with pytest.raises(InputError, match=told):
        rewritten(attack, options, query)
