"""How the LLaVA that reads English is trained: what is drawn and asked, the model as functions, the whole recipe."""

from __future__ import annotations

import json
import random
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import LlavaForConditionalGeneration

from davsp.drawing.shapes import COLOURS
from davsp.drawing.typefaces import SHIPPED_FOLDER
from davsp.errors import ArtefactError, InputError
from davsp.testbed.public_texts import HARMFUL, HUMAN
from davsp.testbed.smol.assembling import LORA_SCALE, llava_config
from davsp.testbed.smol.parts import LORA, TOWER, find_parts
from davsp.testbed.smol.pretraining.canvas import Canvas
from davsp.testbed.smol.pretraining.generation import decoder_model, load_weights
from davsp.testbed.smol.pretraining.language import MATRICES, WIDTH, Language
from davsp.testbed.smol.pretraining.laying import Materials
from davsp.testbed.smol.pretraining.layout import CHARACTERS, FIRST, GRID, PATCH, SIZES, Face, Typesetter, render
from davsp.testbed.smol.pretraining.pictures import Atlas, build_atlas
from davsp.testbed.smol.pretraining.recipe import TINY, Recipe
from davsp.testbed.smol.pretraining.run import ANSWERS, MEASURED, Options, pretrain_smol
from davsp.testbed.smol.pretraining.samples import DECODER, LENGTHS, PATCHES, REFUSING, TEXT, Sampler
from davsp.testbed.smol.pretraining.sketches import FRAMED, Sketch, pack
from davsp.testbed.smol.pretraining.stage import Stage
from davsp.testbed.smol.pretraining.texts import REFUSALS, Corpus, build_corpus, own_requests, read_sources
from davsp.testbed.smol.pretraining.tower import Tower
from davsp.testbed.smol.pretraining.workers import Sample
from tests.drawing.stand_ins import NAUGHTY
from tests.testbed.test_smol import once, wheel  # noqa: F401 - fixtures

FACE = SHIPPED_FOLDER / "DejaVuSans.ttf"
MARK = "forbidden"
"""A word that is in all texts that stand for harmful ones, and in no other."""


@pytest.fixture(scope="module")
def face() -> Face:
    return render(FACE)


@pytest.fixture(scope="module")
def atlas() -> Atlas:
    return build_atlas(None)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    """A token for each word, by the order in which they are first met."""
    words = ["[unk]", "user", "<|im_end|>", *(f"w{i}" for i in range(50)), MARK, *" ".join(REFUSALS).split()]
    made = Tokenizer(WordLevel({word: i for i, word in enumerate(dict.fromkeys(words))}, unk_token="[unk]"))
    made.pre_tokenizer = WhitespaceSplit()
    return made


def sampler_of(face: Face, atlas: Atlas, tokenizer: Tokenizer, **changes: int) -> Sampler:
    requests = tuple(f"w{i} w{i + 1} w{i + 2}" for i in range(40))
    corpus = Corpus(
        answers={request: [40, 41, 2] for request in requests},
        requests=requests,
        look_alikes=requests[:3],
        sentences=("w1 w2 w3 w4", "w5 w6"),
        words=("w7", "w8"),
        harmful=tuple(f"{MARK} w{i} w3" for i in range(9)),
        harmful_words=("w9", "w10"),
    )
    materials = Materials(
        corpus, atlas.names, atlas.things, [face.advances], [face.heights], (0,), (0,), tokenizer.to_str(), 2,
        replace(TINY, **changes),
    )  # fmt: skip
    return materials.sampler()


def test_letters_are_in_the_patches_of_their_middles_and_drawn_there(face: Face, tokenizer: Tokenizer) -> None:
    setter = Typesetter([face.advances], [face.heights], tokenizer)
    layout = setter.fit("w1 w2", 0, (16, 32, 208, 200), 32, 1.0)
    assert layout is not None
    found = {
        (row, column): "".join(CHARACTERS[i] for i in places if i >= 0)
        for row, columns in enumerate(layout.letters)
        for column, places in enumerate(columns)
        if (places >= 0).any()
    }
    assert "".join(found[place] for place in sorted(found)) == "w1w2"
    size = SIZES.index(32)
    middle = 16 + face.advances[size][ord("w") - FIRST] / 2
    assert (int((32 + face.heights[size] / 2) // PATCH), int(middle // PATCH)) in found

    sketch = Sketch(layout)
    arrays = pack([sketch])
    sample = Sample(0, {name: torch.from_numpy(array) for name, array in arrays.items()}, arrays)
    glyphs = torch.from_numpy(face.glyphs.reshape(-1, *face.glyphs.shape[-2:]))
    canvas = Canvas(glyphs, torch.zeros(1, 96, 96, 4, dtype=torch.uint8), torch.device("cpu"), 0)
    image = canvas.draw(sample, 0, 1)[0].mean(0)
    dark = (image.view(GRID, PATCH, GRID, PATCH).amin(dim=(1, 3)) < 0.5).nonzero().tolist()
    assert {(row, column) for row, column in found} <= {(row, column) for row, column in dark}
    assert image[:32].min() > 0.9 and image[120:].min() > 0.9, "nothing is drawn outside of the box"


def test_a_text_that_does_not_fit_is_not_set(face: Face, tokenizer: Tokenizer) -> None:
    setter = Typesetter([face.advances], [face.heights], tokenizer)
    assert setter.fit("w" * 80, 0, (0, 0, 224, 224), 20, 1.0) is None
    assert setter.fit("w1 " * 200, 0, (0, 0, 224, 60), 20, 1.0) is None


def test_shapes_are_drawn_in_their_colours_where_they_stand(atlas: Atlas) -> None:
    assert atlas.things == 0 and atlas.names[:2] == ("red circle", "green circle")
    slot = (40.0, 80.0, 60.0, atlas.names.index("blue square"))
    arrays = pack([Sketch(pictures=[slot])])
    sample = Sample(0, {name: torch.from_numpy(array) for name, array in arrays.items()}, arrays)
    canvas = Canvas(torch.zeros(1, 44, 44, dtype=torch.uint8), torch.from_numpy(atlas.pixels), torch.device("cpu"), 0)
    image = canvas.draw(sample, 0, 1)[0]
    assert torch.allclose(image[:, 110, 70] * 255, torch.tensor(COLOURS["blue"]).float(), atol=2)
    assert image[:, 110, 30].min() > 0.98 and image[:, 110, 110].min() > 0.98


def test_no_image_holds_a_harmful_text_while_the_decoder_learns_and_none_is_refused(
    face: Face, atlas: Atlas, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    sampler = sampler_of(face, atlas, tokenizer, single_rows=300, double_rows=60, text_rows=60)
    drawn: list[str] = []
    for name in ("page", "list_of", "captioned"):
        own = getattr(type(sampler.draughtsman), name)

        def spied(self: object, text: str, rng: random.Random, own: object = own) -> object:
            drawn.append(text)
            return own(self, text, rng)  # type: ignore[operator]

        monkeypatch.setattr(type(sampler.draughtsman), name, spied)
    mark, refused = tokenizer.token_to_id(MARK), set(tokenizer.encode(" ".join(REFUSALS)).ids)
    for stage in (DECODER, REFUSING):
        drawn.clear()
        arrays = sampler.step(random.Random(0), stage)
        assert len(drawn) > 100 and not any(MARK in text for text in drawn)
        for group in LENGTHS:
            harmful = (arrays[f"{group}_tokens"] == mark).any(axis=1)
            declined = np.isin(arrays[f"{group}_labels"], list(refused)).any(axis=1)
            assert (harmful == declined).all(), "what is refused is asked in words, and all of that is"
            assert harmful.any() == (group == TEXT or (stage == REFUSING and group == "single"))
    drawn.clear()
    sampler.tower(random.Random(0))
    for _ in range(40):
        sampler.tower(random.Random(len(drawn)))
    assert any(MARK in text for text in drawn), "the tower learns the letters of harmful texts too"


def test_answers_stand_after_their_questions_and_labels_are_their_tokens(
    face: Face, atlas: Atlas, tokenizer: Tokenizer
) -> None:
    writer = sampler_of(face, atlas, tokenizer).writer
    tokens, labels, weights = writer.write(
        [("w1", [30, 2], 1.0), ("w2", [31, 32, 2], 0.5)], LENGTHS["single"], image=True
    )
    places = np.flatnonzero(labels >= 0)
    assert (tokens[places] == labels[places]).all() and labels[places].tolist() == [30, 2, 31, 32, 2]
    assert weights[places].tolist() == [1.0, 1.0, 0.5, 0.5, 0.5]
    assert places[0] > PATCHES + len(writer.opening)
    short, cut, _ = writer.write([("w1", [30] * 9, 1.0), ("w2", [31] * 900, 1.0)], LENGTHS["single"], image=True)
    assert 31 not in short and (cut == 30).sum() == 9


def test_few_images_have_frames(face: Face, atlas: Atlas, tokenizer: Tokenizer) -> None:
    sampler = sampler_of(face, atlas, tokenizer, chunk=1500)
    framed = float((sampler.tower(random.Random(0))["frame"] > 0).mean())
    assert 0.01 < framed <= FRAMED + 0.02


CAFES = [
    {"instruction": f"Name a café in {town} that {what}."} for town in ("Riga", "Oslo") for what in ("bakes", "sings")
]
"""Which there are no letters for."""


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    """Files under the names of the benchmarks; stand-ins, which are harmless."""
    folder = tmp_path / "texts"
    folder.mkdir()
    for i, name in enumerate(name for names in HARMFUL.values() for name in names):
        (folder / name).write_text(json.dumps([{"instruction": text} for text in NAUGHTY[i::10]]))
    for name in HUMAN:
        (folder / name).write_text(json.dumps([{"instruction": f"Make a list for {name}."}, *CAFES]))
    return folder


def test_texts_of_other_splits_are_in_no_corpus(texts: Path, tokenizer: Tokenizer) -> None:
    sources = read_sources(texts)
    assert all(text.isascii() for text in sources.harmless)
    other = sources.test_harmless[0]
    made_up = own_requests(
        [f" {other}!\nAnd more", "Tell me a joke about quokkas", "no", "Naïve quokkas sing"], sources
    )
    assert made_up == ["Tell me a joke about quokkas"]
    corpus = build_corpus(sources, {text: [40] for text in (*sources.harmless, *made_up)}, tokenizer)
    tested = {*sources.test_harmful, *sources.test_harmless}
    assert not tested & {*corpus.harmful, *corpus.requests, *corpus.look_alikes} and corpus.look_alikes
    assert not any(text in line for text in tested for line in corpus.sentences)


def test_the_tower_is_transformers_own() -> None:
    weights = load_file(find_parts() / TOWER)
    model = LlavaForConditionalGeneration._from_config(llava_config().__class__(**llava_config().to_dict() | {}))
    model = model.float().eval()
    model.model.load_state_dict({name: weight.float() for name, weight in weights.items()}, strict=False)
    tower = Tower(weights, torch.float32)
    images = torch.rand(2, 3, 224, 224)
    with torch.no_grad():
        pixels = (images - tower.mean) / tower.deviation
        hidden = model.model.vision_tower(pixels, output_hidden_states=True).hidden_states[-1][:, 1:]
        own = model.model.multi_modal_projector(hidden)
        _, seen = tower(images)
    assert torch.allclose(seen, own, atol=1e-5)


def language_weights(layers: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    model = decoder_model(layers, torch.device("cpu"), torch.float32)
    return {
        name: torch.randn(weight.shape, generator=generator) * 0.05 + ("norm" in name)
        for name, weight in model.state_dict().items()
    }


def test_the_decoder_with_its_lora_is_transformers_own_with_it_merged() -> None:
    weights = language_weights(2)
    language = Language(weights, 2, torch.float32)
    with torch.no_grad():
        for name, parameter in language.named_parameters():
            if name.endswith("_B"):
                parameter.normal_(std=0.05)
    model = decoder_model(2, torch.device("cpu"), torch.float32)
    load_weights(model, weights | language.merged())
    down, up = language.state()["layers.1.mlp.up_proj.lora_A.weight"], language.get_parameter("mlp_up_proj_B")[1]
    expected = weights["layers.1.mlp.up_proj.weight"] + LORA_SCALE * up @ down.float()
    assert torch.allclose(language.merged()["layers.1.mlp.up_proj.weight"], expected, atol=2e-3)
    tokens = torch.arange(40).view(2, 20)
    with torch.no_grad():
        own = model(input_ids=tokens).last_hidden_state
        groups = [language.embed(tokens[:1]), language.embed(tokens[1:, :12])]
        found = language(groups)
    assert torch.allclose(found[:20], own[0], atol=1e-4)
    assert torch.allclose(found[20:], own[1, :12], atol=1e-4), "what comes after in one group does not reach the other"
    again = Language(weights, 2, torch.float32)
    again.load(language.state())
    assert torch.allclose(again.matrix(MATRICES[0]), language.matrix(MATRICES[0]), atol=2e-3)
    assert found.shape == (32, WIDTH)


def test_a_rate_rises_then_falls_with_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("davsp.testbed.smol.pretraining.stage.time.monotonic", lambda: now[0])
    stage = Stage("x", 10.0, Recipe(warm_steps=4), print)
    stage.begin()
    rates = []
    for second in range(10):
        now[0] = 100.0 + second
        rates.append(stage.rate)
        stage.step_done(1)
    assert rates[0] < rates[1] < rates[2] and rates[4] > rates[6] > rates[9] > 0
    assert not stage.is_over
    now[0] = 110.0
    assert stage.is_over


@pytest.mark.slow
def test_the_whole_recipe_runs_and_goes_on_where_it_was_stopped_or_ended(
    tmp_path: Path,
    texts: Path,
    wheel: Path,  # noqa: F811
) -> None:
    lines: list[str] = []
    options = Options(texts=texts, decoder=next(wheel.parent.glob("*.whl")), device="cpu", workers=1, tiny=True)
    out = tmp_path / "out"

    def stop(line: str) -> None:
        if "decoder step 1 " in line:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        pretrain_smol(out, options, stop)
    [kept] = out.glob("decoder-*s")
    assert not (out / "after-decoder").exists() and {f.name for f in kept.iterdir()} == {TOWER, LORA}
    measured = pretrain_smol(out, options, lines.append)
    assert any(str(kept) in line for line in lines) and not any("tower step" in line for line in lines)
    assert measured["counting"]["n"] == TINY.measured and {"exact", "words"} <= measured["reading_typo"].keys()
    start = find_parts()
    tower, lora = load_file(out / "parts" / TOWER), load_file(out / "parts" / LORA)
    shipped = load_file(start / TOWER)
    assert {name: (p.shape, p.dtype) for name, p in tower.items()} == {
        name: (p.shape, p.dtype) for name, p in shipped.items()
    }
    assert any(not torch.equal(tower[name], shipped[name]) for name in tower)
    assert set(lora) < set(load_file(start / LORA)) and len(lora) == (TINY.layers or 0) * len(MATRICES) * 2

    (out / MEASURED).unlink()
    answers = (out / ANSWERS).read_bytes()
    lines.clear()
    assert pretrain_smol(out, options, lines.append) == measured
    assert not any(" step " in line for line in lines) and (out / ANSWERS).read_bytes() == answers
    with pytest.raises(ArtefactError, match="seed"):
        pretrain_smol(out, replace(options, seed=1), lines.append)


def test_what_is_missing_is_said(tmp_path: Path, texts: Path) -> None:
    def run(**changes: Path) -> None:
        options = replace(Options(texts=texts, device="cpu", tiny=True), **changes)  # type: ignore[arg-type]
        pretrain_smol(tmp_path / "out", options, print)

    with pytest.raises(InputError, match=r"NotoColorEmoji\.ttf"):
        run(pictures=tmp_path / "none.ttf")
    with pytest.raises(InputError, match=r"no \.ttf files"):
        run(fonts=texts)
    with pytest.raises(InputError, match=r"holds no tower\.safetensors"):
        run(start=texts)
    with pytest.raises(InputError, match="no colour font"):
        build_atlas(texts / "advbench.json")
