"""Queries that are drawn when they are asked for, by name: the testbed's own world, and public texts."""

from __future__ import annotations

from pathlib import Path

from davsp.data.query import Query
from davsp.errors import InputError
from davsp.models.shipped import OF_THE_WORLD, SHIPPED

NAME = "testbed"
PUBLIC = "smol"
FOLDER_VARIABLE = "DAVSP_TEXTS"
"""Names the folder of the public texts, where the name does not."""
SIDE_STEP = 16
SPLITS = ("train", "validation", "test")
TEST_PER_GROUP = 200
"""Test queries of each group, where nothing else is said."""
PUBLIC_SIDE = 448
"""Side in pixels of the images of public texts, for models that are not the testbed's."""
LEAST_PUBLIC_SIDE = 224
"""The same for models of the testbed, which take smaller ones: few of the texts would be legible there."""


def is_testbed(name: str) -> bool:
    """Whether a name stands for the testbed's queries; a file or folder of that name goes first."""
    return _base(name) == NAME and not Path(name).exists()


def is_drawn(name: str) -> bool:
    """Whether a name stands for queries that are drawn; a file or folder of that name goes first."""
    return _base(name) in (NAME, PUBLIC) and not Path(name).exists()


def check_world(model: str) -> None:
    """Raise InputError for a shipped model that was not trained in the testbed's world."""
    if model in SHIPPED and model not in OF_THE_WORLD:
        raise InputError(f"{model} reads English, and not the words of the testbed's world: name others (--data).")


def own_side(model: str) -> int:
    """The side in pixels of the images that the testbed draws for a model, shipped or not. Raises InputError as
    `check_world` does."""
    check_world(model)
    return SHIPPED.get(model, SHIPPED[NAME]).image_side


def side_of(name: str, model: str = NAME) -> int | range:
    """The side in pixels of the testbed's images: "testbed" (at the model's own size), "testbed@112" for another,
    "testbed@96-144" for heights and widths between the two in steps of SIDE_STEP. Raises InputError, also as
    `check_world` does."""
    own = own_side(model)
    _, _, sizes = name.partition("@")
    if not sizes:
        return own
    sides = [int(side) for side in sizes.split("-") if side.isdecimal()]
    if len(sides) != sizes.count("-") + 1 or len(sides) > 2 or not 8 <= min(sides) <= max(sides) == sides[-1] <= 4096:
        raise InputError(
            f"{name}: write the side of the testbed's images in pixels, such as testbed@112, or the least and the "
            f"greatest, such as testbed@96-144."
        )
    return sides[0] if len(sides) == 1 else range(sides[0], sides[1] + 1, SIDE_STEP)


def draw_source(name: str, split: str, per_group: int | None = None, seed: int = 0, model: str = NAME) -> list[Query]:
    """The queries of a split: "train" and "validation", which a prompt is trained and chosen with, or "test".

    `name` is "testbed" (with sides as for `side_of`) or "smol", "smol@SIDE", "smol=FOLDER" or "smol@SIDE=FOLDER".
    `model` is the one that they are for, which decides the images' size where the name does not. No item belongs to
    two splits. Raises InputError for a split, size or folder that there is not.
    """
    if split not in SPLITS:
        raise InputError(f"{_base(name)} has no split {split!r}. Choose from {', '.join(SPLITS)}.")
    if not is_testbed(name):
        return _draw_public(name, split, per_group, seed, model)
    from davsp.testbed.queries import border_split, draw_queries
    from davsp.testbed.world import Split

    side = side_of(name, model)
    if split == "test":
        return draw_queries(Split.TEST, per_group or TEST_PER_GROUP, seed, side=side)
    return border_split(Split.BORDER if split == "train" else Split.VALIDATION, per_group, seed, side)


def _draw_public(name: str, split: str, per_group: int | None, seed: int, model: str) -> list[Query]:
    from davsp.drawing.kinds import LEAST_SIDE, MOST_SIDE
    from davsp.testbed.public_texts import draw_public_texts

    named, _, folder = name.partition("=")
    _, at, size = named.partition("@")
    side = max(LEAST_PUBLIC_SIDE, SHIPPED[model].image_side) if model in SHIPPED else PUBLIC_SIDE
    if at:
        if not size.isdecimal() or not LEAST_SIDE <= int(size) <= MOST_SIDE:
            raise InputError(
                f"{name}: write the side of the images in pixels, from {LEAST_SIDE} to {MOST_SIDE}, such as smol@224."
            )
        side = int(size)
    return draw_public_texts(Path(folder) if folder else None, split, per_group, seed, side)


def _base(name: str) -> str:
    return name.partition("=")[0].partition("@")[0]
