"""Options by name: assignments, former names, and what is printed of them."""

from __future__ import annotations

from enum import StrEnum
from io import StringIO

import pytest
from pydantic import AliasChoices, BaseModel, ConfigDict, Field
from rich.console import Console

from davsp.errors import InputError
from davsp.searches.signed_steps import ChangeOptions
from davsp.training.config import TrainConfig
from davsp.training.recipes import TrainingRecipe
from davsp.util.options import options_table, read_options


class Colour(StrEnum):
    RED = "red"
    GREEN = "green"


class Paint(BaseModel):
    """Options of a made-up command."""

    model_config = ConfigDict(extra="forbid")

    area: float = Field(description="Square metres.")
    colour: Colour = Field(Colour.RED, description="red or green.")
    coats: int = Field(2, validation_alias=AliasChoices("coats", "layers"), description="How often.")
    share: float = Field(1 / 3, description="Of [0, 1].")
    words: str = Field("", description="Written on it.")
    varnish: bool | None = Field(None, description="Default: where it rains.")


def shown(width: int = 60) -> str:
    printed = StringIO()
    table = options_table(Paint, "Paint", {"the cheap one's": {"coats": 1, "colour": Colour.GREEN}})
    Console(width=width, file=printed).print(table)
    return printed.getvalue()


def test_a_former_name_is_a_name_of_the_option() -> None:
    assert read_options(Paint, {"area": 1, "layers": 3}, []).coats == 3
    assert read_options(Paint, {"area": 1}, ["layers=4"]).coats == 4


@pytest.mark.parametrize(("first", "second"), [("coats", "layers"), ("layers", "coats")])
def test_what_comes_later_counts_by_whatever_name(first: str, second: str) -> None:
    assert read_options(Paint, {"area": 1, first: 3, second: 5}, []).coats == 5
    assert read_options(Paint, {"area": 1, first: 3}, [f"{second}=5"]).coats == 5


def test_a_bad_value_names_the_option() -> None:
    with pytest.raises(InputError, match=r"option 'coats'.*Options: area, colour, coats, share, words, varnish"):
        read_options(Paint, {"area": 1}, ["layers=many"])
    with pytest.raises(InputError, match="option 'area'"):
        read_options(Paint, {}, [])


def test_every_option_is_shown_with_meaning_default_and_preset() -> None:
    text = shown()
    for name, field in Paint.model_fields.items():
        assert name in text and (field.description or "") in text
    lines = [line.strip() for line in text.splitlines()]
    assert "required" in lines
    assert "default: red; the cheap one's: green" in lines
    assert "default: 2; the cheap one's: 1" in lines
    assert "default: 0.3333" in lines
    assert "default: ''" in lines
    assert not any("None" in line for line in lines)


def test_options_fit_a_narrow_terminal() -> None:
    assert max(map(len, shown(30).splitlines())) <= 30


@pytest.mark.parametrize("schema", [TrainConfig, TrainingRecipe, ChangeOptions])
def test_every_option_has_a_description(schema: type[BaseModel]) -> None:
    assert not [name for name, field in schema.model_fields.items() if not (field.description or "").endswith(".")]
