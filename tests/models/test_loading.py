"""Models: prompts, packed pixels and generation agree with the checkpoint's own processor."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig

from davsp.data.conversation import one_turn
from davsp.data.query import Query
from davsp.errors import ModelError
from davsp.models.base import VisionLanguageModel
from davsp.models.loading import load_model
from davsp.models.requests import Request
from davsp.models.sampling import SeededSampling
from davsp.models.shipped import SHIPPED
from davsp.testbed.queries import draw_queries
from davsp.testbed.world import Split
from tests.tiny import save_tiny


@pytest.fixture(scope="module")
def test_queries() -> list[Query]:
    return draw_queries(Split.TEST, 1, seed=3)


def test_packed_pixels_equal_the_processors_own_output(model: VisionLanguageModel, test_queries: list[Query]) -> None:
    image = test_queries[0].image
    assert isinstance(image, Image.Image)
    at_canvas = image.resize((112, 112))
    query = Query("q", at_canvas, "what does the text say ?")
    theirs = model.processor.image_processor(at_canvas, return_tensors="pt")["pixel_values"]
    assert torch.allclose(model.pack(model.canvas_pixels([query]))["pixel_values"], theirs, atol=1e-6, rtol=0)


def test_prompt_tokens_equal_the_processors_own(model: VisionLanguageModel) -> None:
    messages = [
        {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "be careful .\ncount the shapes ."}]}
    ]
    text = model.processor.apply_chat_template(messages, add_generation_prompt=True)
    theirs = model.processor(text=text, images=Image.new("RGB", (112, 112)))["input_ids"][0]
    assert model.prompt_ids("count the shapes .", "be careful .") == list(theirs)


def test_a_question_about_the_image_token_is_read_as_text_and_answered(model: VisionLanguageModel) -> None:
    image = model.tokenizer.convert_tokens_to_ids(model.image_token)
    plain, literal = (model.prompt_ids(f"what is {word} in the page ?") for word in ("it", model.image_token))
    assert literal.count(image) == plain.count(image)
    assert model.chat_ids(one_turn(f"what is {model.image_token} ?"), []).count(image) == 0
    query = Query("html", Image.new("RGB", (64, 64)), f"what is {model.image_token} ?")
    assert model.generate([query], max_new_tokens=4)[0]


def test_a_batch_answers_as_each_query_alone(model: VisionLanguageModel, test_queries: list[Query]) -> None:
    together = model.generate(test_queries, 20)
    alone = [model.generate([q], 20)[0] for q in test_queries]
    assert together == alone


def test_labels_point_at_the_answer_and_its_end(model: VisionLanguageModel) -> None:
    prompt, answer = model.prompt_ids("count the shapes ."), model.answer_ids("the number is two .")
    tokens = model.tokens([prompt, prompt[:-1]], [answer, answer])
    assert tokens.last_prompt.tolist() == [len(prompt) - 1, len(prompt) - 2]
    for row in (0, 1):
        assert tokens.labels[row][tokens.labels[row] != -100].tolist() == answer
    assert answer[-1] == model.tokenizer.eos_token_id


def test_the_fingerprint_does_not_depend_on_precision(model: VisionLanguageModel) -> None:
    assert load_model("testbed", dtype="bfloat16").fingerprint() == model.fingerprint()


def test_an_unknown_model_is_a_clear_error() -> None:
    with pytest.raises(ModelError, match="Give a local folder"):
        load_model("no-such/model")


def test_a_folder_without_a_model_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no config\.json"):
        load_model(str(tmp_path))


def _copy_of_testbed(folder: Path) -> Path:
    shutil.copytree(SHIPPED["testbed"].folder, folder / "copy")
    return folder / "copy"


def test_an_unsupported_family_names_the_supported_ones(tmp_path: Path) -> None:
    copy = _copy_of_testbed(tmp_path)
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"model_type": "blip-2"}))
    with pytest.raises(ModelError, match=r"Supported: gemma3, .*docs/families\.md"):
        load_model(str(copy))


def test_a_text_model_is_said_to_see_nothing(tmp_path: Path) -> None:
    LlamaConfig().save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"'llama', which reads text alone, no images\. Supported: "):
        load_model(str(tmp_path))


@pytest.mark.parametrize("part", ["processor_config.json", "tokenizer.json"])
def test_a_checkpoint_without_processor_says_how_to_add_it(tmp_path: Path, part: str) -> None:
    copy = _copy_of_testbed(tmp_path)
    (copy / part).unlink()
    with pytest.raises(ModelError, match=r"has no processor that can be read.*\n.*save_pretrained\(FOLDER\)"):
        load_model(str(copy))


def test_a_checkpoint_without_chat_template_is_a_clear_error(tmp_path: Path) -> None:
    copy = _copy_of_testbed(tmp_path)
    (copy / "chat_template.jinja").unlink()
    with pytest.raises(ModelError, match="no chat template"):
        load_model(str(copy))


def with_template(folder: Path, template: str) -> Path:
    copy = _copy_of_testbed(folder)
    (copy / "chat_template.jinja").write_text(template)
    return copy


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{% for p in messages[0]['content'] %}{{ p['text'] }}{% endfor %}", "leaves out the image"),
        ("{{ raise_exception('Conversation must start with a system message') }}", "start with a system message"),
        ("{% if 'image' in messages[0]['content'][0]['type'] %}<image>{% endif %}", "leaves out the question"),
        ("{% for p in messages[0]['content'] %}<image>{{ p['text'] }}{% endfor %}", "repeats the image"),
        ("<image>{% for p in messages[0]['content'] %}{{ p['text'] }}{{ p['text'] }}{% endfor %}", "the question"),
        ("{% for p in messages %}", "Unexpected end of template"),
        ("{{ messages[3]['content']['text'] }}", "has no element 3"),
        ("{{ 1 / 0 }}", "division by zero"),
        ("<image>{{ messages[0]['content'] }}", "repeats the image|leaves out the question"),
    ],
)
def test_a_chat_template_that_cannot_be_used_is_one_line(template: str, reason: str, tmp_path: Path) -> None:
    copy = with_template(tmp_path, template)
    with pytest.raises(ModelError, match=rf"the chat template of .*({reason}).*chat_template\.jinja") as caught:
        load_model(str(copy))
    assert "\n" not in str(caught.value)


def test_a_template_that_fails_at_one_question_is_one_line(tmp_path: Path) -> None:
    template = (SHIPPED["testbed"].folder / "chat_template.jinja").read_text()
    fails = "{% if 'stop' in messages[0]['content'][-1]['text'] %}{{ raise_exception('no stopping') }}{% endif %}"
    model = load_model(str(with_template(tmp_path, fails + template)))
    assert model.prompt_ids("go on .")
    with pytest.raises(ModelError, match=r"the chat template of .* fails \(no stopping\)"):
        model.prompt_ids("stop .")


def test_the_chat_template_of_the_tokenizer_counts_where_the_processor_has_none(tmp_path: Path) -> None:
    copy = _copy_of_testbed(tmp_path)
    template = (copy / "chat_template.jinja").read_text()
    (copy / "chat_template.jinja").unlink()
    settings = json.loads((copy / "tokenizer_config.json").read_text())
    (copy / "tokenizer_config.json").write_text(json.dumps(settings | {"chat_template": template}))
    assert load_model(str(copy)).prompt_ids("what ?") == load_model("testbed").prompt_ids("what ?")


def test_truncated_weights_are_a_clear_error(tmp_path: Path) -> None:
    copy = _copy_of_testbed(tmp_path)
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ModelError, match="cannot load the model"):
        load_model(str(copy))


def test_draws_follow_the_models_own_probabilities() -> None:
    """Gumbel's trick: the shares of 4,000 draws agree with softmax(scores / temperature)."""
    scores = torch.tensor([[1.0, 0.0, -1.0, 2.0]])
    draws = [
        SeededSampling([Request("q", temperature=0.7, seed=s)])(scores.long(), scores).argmax() for s in range(4000)
    ]
    shares = torch.bincount(torch.stack(draws), minlength=4) / 4000
    torch.testing.assert_close(shares, (scores[0] / 0.7).softmax(0), atol=0.03, rtol=0)


def test_a_row_at_temperature_zero_stays_greedy() -> None:
    scores = torch.tensor([[1.0, 0.9], [1.0, 0.9]])
    rule = SeededSampling([Request("q"), Request("q", temperature=5.0, seed=1)])
    assert torch.equal(rule(scores.long(), scores)[0], scores[0])
    assert not torch.equal(rule(scores.long(), scores)[1], scores[1])


def broken(folder: Path, rename: Callable[[str], str | None]) -> Path:
    """A tiny checkpoint whose tensors have other names, or are left out."""
    save_tiny("llava", folder)
    file = folder / "model.safetensors"
    tensors = {new: t for name, t in load_file(file).items() if (new := rename(name)) is not None}
    save_file(tensors, file, {"format": "pt"})
    return folder


def test_a_checkpoint_whose_keys_carry_a_foreign_prefix_is_refused_by_name(tmp_path: Path) -> None:
    folder = broken(tmp_path / "tiny", lambda name: f"wrapped.inner.{name}")
    with pytest.raises(ModelError, match=r"no weights for .*more\. It holds others .*such as wrapped\.inner\."):
        load_model(str(folder))


def test_a_checkpoint_without_its_projector_is_refused_by_name(tmp_path: Path) -> None:
    folder = broken(tmp_path / "tiny", lambda name: None if "projector" in name else name)
    with pytest.raises(ModelError, match=r"no weights for model\.multi_modal_projector"):
        load_model(str(folder))


def test_tied_weights_need_no_copy_of_their_own(tmp_path: Path) -> None:
    folder = save_tiny("llava", tmp_path / "tiny")
    config = json.loads((folder / "config.json").read_text())
    config["tie_word_embeddings"] = config["text_config"]["tie_word_embeddings"] = True
    (folder / "config.json").write_text(json.dumps(config))
    tensors = load_file(folder / "model.safetensors")
    save_file({n: t for n, t in tensors.items() if "lm_head" not in n}, folder / "model.safetensors", {"format": "pt"})
    load_model(str(folder))


@pytest.mark.parametrize("where", ["config.json", "processor_config.json", "tokenizer_config.json"])
def test_code_that_a_checkpoint_brings_is_never_run(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save_tiny("llava", tmp_path / "tiny")
    path = folder / where
    settings = json.loads(path.read_text()) if path.exists() else {}
    own = {"config.json": ("AutoConfig", "AutoModelForImageTextToText"), "processor_config.json": ("AutoProcessor",)}
    names = own.get(where, ("AutoTokenizer",))
    settings["auto_map"] = dict.fromkeys(names, "evil.Evil")
    path.write_text(json.dumps(settings))
    (folder / "evil.py").write_text(
        f"import pathlib\npathlib.Path({str(tmp_path / 'ran')!r}).touch()\nclass Evil: pass\n"
    )
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n" * 5))
    try:
        load_model(str(folder))
    except ModelError as error:
        assert str(error)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"dtype": "float31"}, "there is no precision 'float31'"),
        ({"device": "cudda"}, "there is no device 'cudda'"),
        pytest.param(
            {"device": "cuda"},
            "there is no GPU for 'cuda'",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU"),
        ),
    ],
)
def test_a_device_or_precision_that_there_is_not_is_named(options: dict[str, str], reason: str) -> None:
    with pytest.raises(ModelError, match=reason):
        load_model("testbed", **options)
