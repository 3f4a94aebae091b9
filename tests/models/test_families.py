"""Every family, on a tiny random checkpoint of its class: what we hand to a model is what its own processor would."""

from __future__ import annotations

import shutil
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from davsp.data.conversation import ImageContent, Message, Messages, one_turn, with_text_before
from davsp.data.query import Query
from davsp.errors import InputError, ModelError
from davsp.imaging.opening import open_image
from davsp.imaging.pixels import stack
from davsp.models.activations import last_prompt_states, read_activations, states_and_final
from davsp.models.base import VisionLanguageModel
from davsp.models.loading import FAMILIES, load_model
from davsp.models.requests import Request
from davsp.models.tokens import Tokens
from davsp.prompts.visual import VisualPrompt, protect
from davsp.training.config import TrainConfig
from davsp.training.objective import Objective, plan
from davsp.training.trainer import Trainer
from davsp.training.vector import extract_vector
from tests.tiny import BUILDERS, save_tiny

QUESTION = "how do i do what the text says ?"


@pytest.fixture(scope="module", params=sorted(BUILDERS))
def tiny(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> VisionLanguageModel:
    return load_model(str(save_tiny(request.param, tmp_path_factory.mktemp(request.param))))


def noise(height: int, width: int, seed: int = 0) -> Image.Image:
    values = np.random.default_rng(seed).integers(0, 256, (height, width, 3))
    return Image.fromarray(values.astype(np.uint8))


def canvas_sizes(model: VisionLanguageModel) -> list[tuple[int, int]]:
    """A square, a tall and a wide size of the model's canvas (the same where it has but one)."""
    return list(dict.fromkeys(model.canvas.choose(*shape) for shape in [(60, 60), (90, 30), (30, 60)]))


def theirs(model: VisionLanguageModel, asked: Image.Image | Messages) -> dict[str, Any]:
    """The inputs that the checkpoint's own processor makes of a conversation, or of QUESTION and an image."""
    processor, messages = model.processor, one_turn(QUESTION, [asked]) if isinstance(asked, Image.Image) else asked
    images = [image for message in messages for image in message.images]
    if model.family == "paligemma":  # its processor adds the first token and the line break itself
        text = len(images) * "<image>" + messages[0].text
        return dict(processor(text=text, images=[images], return_tensors="pt"))
    chat = [
        {
            "role": message.role.value,
            "content": [
                {"type": "text", "text": p} if isinstance(p, str) else {"type": "image"} for p in message.parts
            ],
        }
        for message in messages
    ]
    prompt = processor.apply_chat_template(chat, add_generation_prompt=True)
    return dict(processor(text=[prompt], images=[images], return_tensors="pt", add_special_tokens=False))


def ours(model: VisionLanguageModel, asked: Image.Image | Messages) -> dict[str, Tensor]:
    request = Request(one_turn(QUESTION, [asked]) if isinstance(asked, Image.Image) else asked)
    pixels = model.canvas_pixels([request])
    ids = torch.tensor(model.prompts([request], pixels))
    return model.inputs(pixels, ids, torch.ones_like(ids, dtype=torch.bool), [len(request.images)])


def conversations(model: VisionLanguageModel) -> list[Messages]:
    """One of two images in one turn, and one of three in two, with a system's turn and an answer between; of sizes of
    the canvas. PaliGemma takes one turn."""
    sizes = canvas_sizes(model)
    a, b, c = (noise(*sizes[i % len(sizes)], i) for i in range(3))
    if model.family == "paligemma":
        return [one_turn(QUESTION, [a, b]), one_turn("what colour ?", [c, b, a])]
    talk = (
        Message("system", "help fully ."),
        Message("user", (a, "what colour ?", c)),
        Message("assistant", "red ."),
        Message("user", ("count the shapes .", b, QUESTION)),
    )
    return [one_turn(QUESTION, [a, b]), talk]


def test_every_family_has_a_tiny_checkpoint() -> None:
    assert FAMILIES.names() == sorted(BUILDERS)


def test_inputs_equal_the_processors_own(tiny: VisionLanguageModel) -> None:
    single = [one_turn(QUESTION, [noise(*size)]) for size in canvas_sizes(tiny)]
    for asked in [*single, *conversations(tiny)]:
        expected, found = theirs(tiny, asked), ours(tiny, asked)
        assert set(found) - set(expected) == set()
        assert set(expected) - set(found) <= {"attention_mask", "labels", "mm_token_type_ids"}
        for name, values in found.items():
            assert values.shape == expected[name].shape, name
            assert torch.equal(values.double(), expected[name].double()) or name == "pixel_values", name
        assert (found["pixel_values"] - expected["pixel_values"]).abs().max() <= 1e-6


def test_the_models_own_tokens_in_a_question_are_text_and_change_nothing_else(tiny: VisionLanguageModel) -> None:
    """No text becomes an image, and what is around such a token is read as it is around any other word."""
    for token in {tiny.image_token, "<image>", "<video>", "<img>", "</s>"}:
        before, after = "count the <b>shapes", "in red ."
        ids = tiny.prompt_ids(f"{before} {token} {after}")
        plain = tiny.prompt_ids(f"{before} {after}")
        specials = set(tiny.tokenizer.all_special_ids)
        assert [i for i in ids if i in specials] == [i for i in plain if i in specials], token
        assert token in tiny.tokenizer.decode(ids).replace(" ", ""), token
        shared = next(i for i, (one, other) in enumerate(zip(ids, plain, strict=False)) if one != other)
        assert shared >= len(plain) - len(tiny.tokenizer(f"{before} {after}")["input_ids"]), token
        assert ids[-3:] == plain[-3:], token
    assert tiny.generate([Query("html", noise(*canvas_sizes(tiny)[0]), f"what is {tiny.image_token} ?")], 2)


def test_a_template_of_texts_alone_is_given_the_image_as_users_write_it(
    tiny: VisionLanguageModel, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(tiny.name, tmp_path / "copy"))
    template = "{{ bos_token }}{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\\n' }}{% endfor %}"
    if tiny.family == "paligemma":
        template = "{{ messages[0]['content'] + '\\n' }}"
    (folder / "chat_template.jinja").write_text(template)
    model = load_model(str(folder))
    image = noise(*canvas_sizes(tiny)[0])
    if tiny.family == "paligemma":  # its processor adds the first token and the line break itself
        expected = model.processor(text=f"<image>{QUESTION}", images=image)["input_ids"][0]
    else:
        text = f"{model.tokenizer.bos_token}user: {model.image_in_text}{QUESTION}\n"
        expected = model.processor(text=[text], images=[image], add_special_tokens=False)["input_ids"][0]
    assert model.prompt_ids(QUESTION, size=(image.height, image.width)) == list(expected)
    assert model.generate([Query("q", image, QUESTION)], 2) == model.generate([Query("q", image, QUESTION)], 2)
    assert QUESTION in model.tokenizer.decode(model.chat_ids(one_turn(QUESTION), []))


def test_states_equal_the_models_own(tiny: VisionLanguageModel) -> None:
    for messages in [one_turn(QUESTION, [noise(*canvas_sizes(tiny)[0])]), *conversations(tiny)]:
        inputs = {k: v for k, v in theirs(tiny, messages).items() if k != "labels"}
        pixels = tiny.canvas_pixels([Request(messages)])
        with torch.inference_mode():
            expected = tiny.model(**inputs, output_hidden_states=True, use_cache=False)
            tokens = tiny.tokens([inputs["input_ids"][0].tolist()], images=[len(pixels)])
            states = last_prompt_states(tiny, pixels, tokens, [1, 2])[0]
            final = states_and_final(tiny, pixels, tokens, [1])[1]
        for k in (1, 2):
            assert torch.allclose(states[k - 1], expected.hidden_states[k][0, -1], atol=2e-5)
        assert torch.allclose(tiny.logits(final), expected.logits.float(), atol=2e-4)


def test_a_padded_batch_of_conversations_equals_each_alone(tiny: VisionLanguageModel) -> None:
    asked = [Query("one", noise(60, 60), QUESTION), Query("none", question=QUESTION)]
    asked += [Query(str(i), messages=messages) for i, messages in enumerate(conversations(tiny))]
    together = read_activations(tiny, asked, [1, 2, 3])
    for query, states in zip(asked, together, strict=True):
        assert torch.allclose(states, read_activations(tiny, [query], [1, 2, 3])[0], atol=5e-5)
    assert tiny.generate(asked, 6) == [tiny.generate([query], 6)[0] for query in asked]


def test_a_padded_batch_of_mixed_sizes_equals_each_alone(tiny: VisionLanguageModel) -> None:
    images = [noise(*size, seed=i) for i, size in enumerate(canvas_sizes(tiny))]
    images.append(noise(*canvas_sizes(tiny)[0], seed=9))
    questions = [QUESTION, "count the shapes .", QUESTION + " " + QUESTION, "what colour ?"][: len(images)]
    prompts = [tiny.prompt_ids(q, size=(i.height, i.width)) for q, i in zip(questions, images, strict=False)]
    answers = [tiny.answer_ids("red green"), tiny.answer_ids("one"), [], tiny.answer_ids("i am sorry")][: len(prompts)]
    pixels = [stack([i])[0] for i in images][: len(prompts)]
    with torch.inference_mode():
        together = last_prompt_states(tiny, pixels, tiny.tokens(prompts, answers), [1, 2, 3])
        for i, prompt in enumerate(prompts):
            alone = last_prompt_states(tiny, pixels[i : i + 1], tiny.tokens([prompt]), [1, 2, 3])
            assert torch.allclose(together[i], alone[0], atol=5e-5)


def test_gradients_reach_the_pixels_and_match_finite_differences(
    tiny: VisionLanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Rounding to levels has no finite differences to compare with; its own gradient is tested beside `resize`.
    monkeypatch.setattr("davsp.imaging.pixels._to_levels", lambda values: values.clamp(0, 255))
    model = type(tiny)(tiny.model.double(), tiny.processor, tiny.name, None)
    try:
        size = canvas_sizes(tiny)[-1]
        direction = torch.linspace(-1, 1, model.hidden_size)
        for count in (1, 2, 3):
            images = [noise(*size, i) for i in range(count)]
            pixels = (stack(images).double() * 0.8 + 0.1).requires_grad_()
            tokens = model.tokens(model.prompts([Request(one_turn(QUESTION, images))], pixels), images=[count])

            def value(pixels: Tensor, tokens: Tokens = tokens) -> Tensor:
                return (last_prompt_states(model, pixels, tokens, [2])[0, 0] * direction).sum()

            gradient = torch.autograd.grad(value(pixels), pixels)[0]
            assert all(image.norm() > 1e-4 for image in gradient)
            for change in (
                gradient,
                *(gradient * (torch.arange(count) == i)[:, None, None, None] for i in range(count)),
            ):
                change, step = change / change.norm(), 2e-4
                with torch.no_grad():
                    measured = (value(pixels + step * change) - value(pixels - step * change)) / (2 * step)
                assert measured.item() == pytest.approx((gradient * change).sum().item(), rel=1e-2)
                if count == 1:
                    break
    finally:
        tiny.model.float()


def test_the_layers_that_see_the_image_are_those_with_a_gradient(tiny: VisionLanguageModel) -> None:
    height, width = canvas_sizes(tiny)[0]
    image = stack([noise(height, width)]).requires_grad_()
    tokens = tiny.tokens([tiny.prompt_ids(QUESTION, size=(height, width))])
    layers = range(1, tiny.n_layers + 1)
    states = [last_prompt_states(tiny, image, tokens, [layer]) for layer in layers]
    moved = [s.requires_grad and bool(torch.autograd.grad(s.sum(), image)[0].any()) for s in states]
    assert moved == [layer >= tiny.first_seeing_layer for layer in layers]
    assert tiny.first_seeing_layer == (2 if tiny.family == "mllama" else 1)


def test_generation_answers_a_batch_as_each_alone(tiny: VisionLanguageModel) -> None:
    queries = [Query(str(i), noise(40 + 20 * i, 70, i), QUESTION) for i in range(3)]
    together = tiny.generate(queries, 6)
    assert together == [tiny.generate([q], 6)[0] for q in queries]
    assert len(set(together)) >= 1


def test_generation_equals_the_models_own(tiny: VisionLanguageModel) -> None:
    for messages in [one_turn(QUESTION, [noise(*canvas_sizes(tiny)[0])]), *conversations(tiny)]:
        inputs = {k: v for k, v in theirs(tiny, messages).items() if k != "labels"}
        out = tiny.model.generate(**inputs, do_sample=False, max_new_tokens=6, pad_token_id=0)
        expected = tiny.tokenizer.decode(out[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True).strip()
        assert tiny.generate([Query("q", messages=messages)], 6) == [expected]


def test_a_conversation_with_a_models_own_tokens_has_the_images_that_it_shows(tiny: VisionLanguageModel) -> None:
    for messages in conversations(tiny):
        spelt = with_text_before(messages, f"what is {tiny.image_token} in a page ?")
        plain = with_text_before(messages, "what is it in a page ?")
        asked = [Request(each) for each in (spelt, plain)]
        literal, ids = tiny.prompts(asked, tiny.canvas_pixels(asked))
        specials = set(tiny.tokenizer.all_special_ids)
        assert [i for i in literal if i in specials] == [i for i in ids if i in specials]
        assert tiny.image_token in tiny.tokenizer.decode(literal).replace(" ", "")


def test_a_conversation_that_a_template_leaves_something_out_of_is_one_line(
    tiny: VisionLanguageModel, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(tiny.name, tmp_path / "copy"))
    template = (folder / "chat_template.jinja").read_text() if tiny.family != "paligemma" else ""
    if template:
        (folder / "chat_template.jinja").write_text(template.replace("in messages %}", "in messages[-1:] %}", 1))
    model = load_model(str(folder))
    talk = (Message("system", "help fully ."), Message("user", (noise(60, 60), QUESTION)))
    with pytest.raises(
        InputError, match=r"asked this conversation \(system, user with 1 image\): .* leaves out the"
    ) as e:
        model.respond([Request(talk)], 2)
    assert "\n" not in str(e.value)
    assert model.respond([Request(talk[1:])], 2)


def test_training_a_prompt_lowers_its_loss_and_the_answer_comes_from_its_picture(
    tiny: VisionLanguageModel, tmp_path: Path
) -> None:
    queries = [
        Query(
            f"{side}{i}",
            [noise(40 + 9 * i, 55, 10 * i + k) for k in range(1 + i % 3)],
            "count the shapes ." if side else QUESTION,
            "one",
            bool(side),
        )
        for i in range(4)
        for side in (0, 1)
    ]
    vector = extract_vector(tiny, queries, queries, prefix="", layer=2, batch_size=4)
    config = TrainConfig(
        prefix="", steps=8, batch_size=8, validate_every=8, step_size=0.05, margin=2.0, answer_weight=0.0
    )
    objective = Objective(tiny, plan(tiny, vector, config), vector.direction(2), queries, queries)
    trainer = Trainer([objective])

    def loss(prompt: Tensor) -> float:
        sides = (objective.loss(prompt, malicious, range(4), answered=False)[0] for malicious in (False, True))
        return sum(side.item() for side in sides)

    before = loss(trainer.prompt)
    trainer.run(tmp_path / "run", quiet=True)
    assert loss(trainer.prompt) < before

    visual = VisualPrompt(trainer.layout, trainer.prompt)
    for asked in [Query("q", noise(50, 70), QUESTION), *(Query("q", messages=m) for m in conversations(tiny))]:
        sent = asked.with_image(*(as_sent(visual, image) for image in asked.images))
        for seen, image in zip(tiny.canvas_pixels([sent]), asked.images, strict=True):
            trained = visual.compose(stack([visual.layout.interior(open_image(image))]))[0]
            assert (seen - trained).abs().max() <= 0.5 / 255 + 1e-6
        assert tiny.generate([sent], 4) == tiny.generate([protect(asked, visual, "")], 4)


def as_sent(visual: VisualPrompt, image: ImageContent) -> Image.Image:
    """An image behind a visual prompt, saved as PNG and opened again."""
    png = BytesIO()
    visual.apply_to_image(open_image(image)).save(png, format="PNG")
    return open_image(png.getvalue())


def test_idefics3_that_cuts_no_images_is_a_clear_error(tmp_path: Path) -> None:
    model = load_model(str(save_tiny("idefics3", tmp_path)))
    model.processor.image_processor.do_image_splitting = False
    with pytest.raises(ModelError, match="set do_image_splitting to true"):
        _ = model.canvas


def test_a_question_without_an_image_is_answered_as_by_the_model_itself(tiny: VisionLanguageModel) -> None:
    image = noise(60, 60)
    found = tiny.respond([Request(QUESTION), Request(QUESTION, image), Request("count the shapes .")], 5)
    ids = torch.tensor([tiny.chat_ids(one_turn(QUESTION), [])])
    out = tiny.model.generate(
        input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=5, pad_token_id=0
    )
    own = tiny.tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True).strip()
    assert (found[0].text, found[0].input_tokens) == (own, ids.shape[1])
    assert found[1] == tiny.respond([Request(QUESTION, image)], 5)[0]


def test_an_answer_goes_on_from_how_it_was_begun(tiny: VisionLanguageModel) -> None:
    image = noise(60, 60)
    [said] = tiny.respond([Request(QUESTION, image, begun="sure , to make")], 3)
    [longer] = tiny.respond([Request(QUESTION, image, begun="sure , to make"), Request(QUESTION, image)], 3)[:1]
    prompt = tiny.prompt_ids(QUESTION, size=tiny.canvas.choose(60, 60))
    assert said == longer
    begun = tiny.tokenizer("sure , to make", add_special_tokens=False)["input_ids"]
    assert said.input_tokens == len(prompt) + len(begun)


def test_a_draw_depends_on_its_seed_and_not_on_its_batch(tiny: VisionLanguageModel) -> None:
    requests = [Request(QUESTION, noise(60, 60), temperature=1.0, seed=seed) for seed in range(4)]
    together = tiny.respond(requests, 4)
    assert together == [tiny.respond([request], 4)[0] for request in requests]
    assert len({response.text for response in together}) > 1
    assert tiny.respond(requests[:1], 4)[0] == together[0]
