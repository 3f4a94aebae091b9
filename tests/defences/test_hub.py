"""Sharing prompts through the Hub's own interface, and using them without davsp's models."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import transformers
from PIL import Image

from davsp.data.query import Query
from davsp.defences.stored import BaseModelFacts
from davsp.defences.visual_safety_prompt import VisualSafetyPrompt
from davsp.errors import ArtefactError
from davsp.models.base import VisionLanguageModel
from davsp.models.shipped import SHIPPED
from davsp.prompts.layouts import BorderLayout
from davsp.prompts.visual import VisualPrompt
from davsp.testbed.queries import draw_queries
from davsp.testbed.world import Split


@pytest.fixture
def prompt(model: VisionLanguageModel) -> VisualSafetyPrompt:
    layout = BorderLayout(112, 112, border=14)
    pixels = torch.rand(3, 112, 112, generator=torch.manual_seed(0))
    layout.project_(pixels)
    return VisualSafetyPrompt("mine", VisualPrompt(layout, pixels), "be careful .", base_model=BaseModelFacts.of(model))


@pytest.fixture
def query() -> Query:
    return draw_queries(Split.TEST, 1, seed=3)[0]


def test_a_prompt_saved_for_the_hub_is_the_same_when_it_comes_back(prompt: VisualSafetyPrompt, tmp_path: Path) -> None:
    prompt.save_pretrained(tmp_path / "shared")
    assert sorted(f.name for f in (tmp_path / "shared").iterdir()) == [
        "README.md", "border.png", "config.json", "model.safetensors",
    ]  # fmt: skip
    read = VisualSafetyPrompt.from_pretrained(tmp_path / "shared")
    assert read.visual is not None and prompt.visual is not None
    assert torch.equal(read.visual.pixels, prompt.visual.pixels)
    assert (read.name, read.prefix, read.base_model) == (prompt.name, prompt.prefix, prompt.base_model)
    card = (tmp_path / "shared" / "README.md").read_text()
    assert "library_name: davsp" in card


def test_a_prompt_in_the_local_cache_is_loaded_at_its_revision_without_a_network(
    prompt: VisualSafetyPrompt, tmp_path: Path
) -> None:
    revision = "0123456789abcdef0123456789abcdef01234567"
    repo = tmp_path / "models--someone--safety"
    prompt.save(repo / "snapshots" / revision)
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(revision)
    read = VisualSafetyPrompt.from_pretrained(
        "someone/safety", revision=revision, cache_dir=tmp_path, local_files_only=True
    )
    assert read.name == "mine"


def test_a_prompt_that_is_nowhere_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="someone/else"):
        VisualSafetyPrompt.from_pretrained("someone/else", cache_dir=tmp_path, local_files_only=True)


def test_a_user_of_plain_transformers_needs_two_lines(
    prompt: VisualSafetyPrompt, model: VisionLanguageModel, query: Query, tmp_path: Path
) -> None:
    prompt.save_pretrained(tmp_path / "shared")
    processor = transformers.AutoProcessor.from_pretrained(SHIPPED["testbed"].folder)
    plain = transformers.AutoModelForImageTextToText.from_pretrained(SHIPPED["testbed"].folder)
    image, question = query.image, query.question
    assert isinstance(image, Image.Image)

    prompt = VisualSafetyPrompt.from_pretrained(tmp_path / "shared")
    image, question = prompt.protect(image, question)

    content = [{"type": "image", "image": image}, {"type": "text", "text": question}]
    inputs = processor.apply_chat_template(
        [{"role": "user", "content": content}],
        add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt",
    )  # fmt: skip
    out = plain.generate(**inputs, max_new_tokens=20, do_sample=False)
    answer = processor.decode(out[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    assert answer.strip() == prompt.ask(model, query.image, query.question, 20)


def test_a_user_of_the_pipeline_needs_two_lines(
    prompt: VisualSafetyPrompt, model: VisionLanguageModel, query: Query, tmp_path: Path
) -> None:
    prompt.save_pretrained(tmp_path / "shared")
    pipe = transformers.pipeline("image-text-to-text", model=str(SHIPPED["testbed"].folder))
    image, question = query.image, query.question
    assert isinstance(image, Image.Image)

    prompt = VisualSafetyPrompt.from_pretrained(tmp_path / "shared")
    image, question = prompt.protect(image, question)

    content = [{"type": "image", "image": image}, {"type": "text", "text": question}]
    found = pipe(
        text=[{"role": "user", "content": content}], max_new_tokens=20, do_sample=False, return_full_text=False
    )
    assert found[0]["generated_text"].strip() == prompt.ask(model, query.image, query.question, 20)
