"""ESIII, which is approximate and says so."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from davsp.data.query import Query
from davsp.defences import esiii, load_defence
from davsp.defences.base import FittingData
from davsp.defences.esiii import Esiii, EsiiiOptions
from davsp.models.base import VisionLanguageModel
from davsp.prompts.text import SAFETY_PREFIX, with_prefix
from davsp.testbed.corpora import security_instructions

RED = Image.new("RGB", (40, 30), "red")


def test_esiii_says_that_it_is_approximate(model: VisionLanguageModel, tmp_path: Path) -> None:
    data = FittingData(corpus=security_instructions())
    Esiii.fit(model, EsiiiOptions(steps=1), data, tmp_path / "esiii", quiet=True)
    read = load_defence(tmp_path / "esiii")
    assert isinstance(read, Esiii)
    assert read.name == "esiii-approximate"
    assert "approximate" in (tmp_path / "esiii" / "README.md").read_text()
    assert "approximate" in str(esiii.__doc__)
    assert read.defend(Query("q", RED, "what ?")).question == with_prefix("what ?", SAFETY_PREFIX)
