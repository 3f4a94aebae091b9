"""The command line as a user meets it: every bad input is one clear message and status 2."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from davsp.data.readers import read_queries
from davsp.defences.stored import BaseModelFacts
from davsp.defences.visual_safety_prompt import VisualSafetyPrompt
from davsp.imaging.opening import open_image
from davsp.models.base import VisionLanguageModel
from davsp.models.loading import load_model
from davsp.prompts.frame import FrameLayout
from davsp.prompts.layouts import BorderLayout
from davsp.prompts.visual import VisualPrompt
from tests.command_line import run


@pytest.fixture(scope="module")
def saved_prompt(model: VisionLanguageModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prompt")
    layout = BorderLayout(112, 112, border=14)
    pixels = torch.rand(3, 112, 112, generator=torch.manual_seed(0))
    layout.project_(pixels)
    VisualSafetyPrompt("mine", VisualPrompt(layout, pixels), base_model=BaseModelFacts.of(model)).save(folder)
    return folder


@pytest.fixture
def image(tmp_path: Path) -> Path:
    Image.new("RGB", (80, 60), "white").save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def test_help_does_not_import_torch_or_scipy_s_statistics() -> None:
    code = """
import sys
from davsp.cli import app
try:
    app(["--help"])
except SystemExit:
    assert not {"torch", "scipy.stats"} & sys.modules.keys()
"""
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_the_version_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, capsys, "--version")[:2] == (0, f"davsp {version('davsp')}\n")


def test_asking_prints_the_answer_alone(
    image: Path, saved_prompt: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, _ = run(monkeypatch, capsys, "ask", image, "count the shapes .", "--defence", saved_prompt)
    assert status == 0
    assert len(out.strip().splitlines()) == 1


def test_a_fitted_baseline_answers_and_so_does_one_that_asks_several_times(
    image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "esiii").mkdir()
    monkeypatch.chdir(tmp_path / "esiii")
    status, out, _ = run(monkeypatch, capsys, "fit", "esiii", "--set", "steps=1", "--out", ".")
    assert (status, out.strip()) == (0, ".")
    assert json.loads((tmp_path / "esiii" / "config.json").read_text())["name"] == "esiii-approximate"
    for defence in (tmp_path / "esiii", "ecso"):
        status, out, _ = run(monkeypatch, capsys, "ask", image, "count the shapes .", "--defence", defence)
        assert status == 0
        assert len(out.strip().splitlines()) == 1


@pytest.mark.parametrize(("question", "told"), [("", "is empty"), ("a\ud800b ?", "not valid Unicode")])
def test_an_unusable_question_is_refused(
    image: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], question: str, told: str
) -> None:
    status, out, err = run(monkeypatch, capsys, "ask", image, question)
    assert (status, out) == (2, "")
    assert told in err and "Traceback" not in err


@pytest.mark.parametrize("content", [b"", b"not an image", b"\x89PNG\r\n\x1a\n"])
def test_an_unusable_image_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], content: bytes
) -> None:
    bad = tmp_path / "bad.png"
    bad.write_bytes(content)
    status, _, err = run(monkeypatch, capsys, "ask", bad, "count the shapes .")
    assert status == 2
    assert "bad.png" in err and "Traceback" not in err


def test_applying_to_a_folder_writes_canvases_and_skips_what_is_done(
    image: Path, saved_prompt: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    status, _, err = run(monkeypatch, capsys, "apply", saved_prompt, image.parent, tmp_path / "out")
    assert (status, "1 written" in err) == (0, True)
    assert Image.open(tmp_path / "out" / "photo.png").size == (112, 112)
    assert "80 x 60 pixels became 112 x 112: the size at which the model sees an image." in err
    assert "1 up to date" in run(monkeypatch, capsys, "apply", saved_prompt, image.parent, tmp_path / "out")[2]


def test_applying_keeps_within_the_limits_that_are_said_and_makes_again_what_was_made_for_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    qwen = load_model("testbed-qwen2vl")
    layout = FrameLayout(qwen.canvas, 8, 16)
    pixels = torch.rand(3, *layout.size, generator=torch.manual_seed(0))
    layout.project_(pixels)
    VisualSafetyPrompt("mine", VisualPrompt(layout, pixels), base_model=BaseModelFacts.of(qwen)).save(
        tmp_path / "prompt"
    )
    (tmp_path / "in").mkdir()
    Image.effect_noise((300, 200), 80).convert("RGB").save(tmp_path / "in" / "photo.png")
    applying = ["apply", tmp_path / "prompt", tmp_path / "in", tmp_path / "out"]
    for limits, told in (([], "1 written"), ([], "1 up to date"), (["--max-pixels", 9216], "1 written")):
        status, _, said = run(monkeypatch, capsys, *applying, *limits)
        assert (status, told in said) == (0, True), (limits, said)
    made = np.asarray(Image.open(tmp_path / "out" / "photo.png"))
    assert made.shape[0] * made.shape[1] <= 9216
    assert np.array_equal(made[:8, :24], (pixels[:, :8, :24] * 255).round().permute(1, 2, 0).numpy())
    status, _, said = run(monkeypatch, capsys, *applying, "--max-pixels", 60)
    assert status == 2 and "to 60 pixels in all cannot be" in said


def test_applying_to_conversations_puts_every_image_of_a_user_behind_the_border_and_writes_openais_form(
    image: Path, saved_prompt: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = {"type": "image", "image": image.name}
    talk = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [shown, {"type": "text", "text": "What is it?"}]},
        {"role": "assistant", "content": "A square."},
        {"role": "user", "content": [{"type": "text", "text": "And this?"}, shown]},
    ]
    source = image.parent / "chats.jsonl"
    source.write_text("".join(json.dumps(record) + "\n" for record in ({"messages": talk}, {"messages": talk[:2]})))
    status, _, said = run(monkeypatch, capsys, "apply", saved_prompt, source, tmp_path / "out.jsonl")
    assert status == 0 and "2 conversations with 3 images written." in said
    prompt = VisualSafetyPrompt.load(saved_prompt)
    written = read_queries(tmp_path / "out.jsonl", malicious=False).queries
    for query, before in zip(written, read_queries(source, malicious=False).queries, strict=True):
        expected = prompt.defend(before)
        assert [m.role for m in query.messages] == [m.role for m in expected.messages]
        assert [m.text for m in query.messages] == [m.text for m in expected.messages]
        pixels = [[open_image(shown).tobytes() for shown in each.images] for each in (query, expected)]
        assert pixels[0] == pixels[1] and len(pixels[0]) == len(before.images)
    status, _, said = run(monkeypatch, capsys, "apply", saved_prompt, source, tmp_path / "out.png")
    assert status == 2 and "conversations are written as .jsonl" in said


def test_a_bad_image_in_a_folder_is_named_and_the_others_are_written(
    image: Path, saved_prompt: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (image.parent / "broken.jpg").write_bytes(b"")
    status, _, err = run(monkeypatch, capsys, "apply", saved_prompt, image.parent, tmp_path / "out")
    assert status == 2
    assert "broken.jpg" in err and (tmp_path / "out" / "photo.png").exists()


def test_a_defence_named_none_does_not_stand_for_the_undefended_run(
    saved_prompt: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    VisualSafetyPrompt.load(saved_prompt).save(tmp_path / "none")
    config = json.loads((tmp_path / "none" / "config.json").read_text()) | {"name": "none"}
    (tmp_path / "none" / "config.json").write_text(json.dumps(config))
    status, _, told = run(
        monkeypatch, capsys, "evaluate", "--out", tmp_path / "x", "--per-group", 1, "--defence", tmp_path / "none"
    )
    assert status == 2
    assert "'none' occurs twice" in told


def test_applying_to_a_stream(image: Path, saved_prompt: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "davsp", "apply", str(saved_prompt), "-", "-"],
        input=image.read_bytes(),
        capture_output=True,
        check=True,
    )
    assert done.stdout.startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("apply", "nowhere", "a.png", "b.png"), "holds no defence"),
        (("ask", "a.png", "hello", "--defence", "nowhere"), "a.png"),
        (("evaluate", "--out", "x", "--data", "none.jsonl"), "none.jsonl"),
        (("train", "--out", "x", "--vector", "nowhere"), "davsp vector"),
        (("train", "--out", "x", "--vector", "nowhere", "--set", "stepz=1"), "stepz"),
        (("report", "nowhere"), "no finished evaluation"),
        (("evaluate", "--out", "x", "--defence", "nowhere"), "there is no defence 'nowhere'"),
        (("evaluate", "--out", "x", "--defence", "eta"), "'reward'"),
        (("fit", "uniguard", "--out", "x", "--data", "none.jsonl"), "--corpus"),
        (("fit", "esiii", "--out", "x", "--corpus", "none.txt"), "none.txt"),
        (("fit", "adashield-a", "--out", "x"), "'defender'"),
        (("fit", "esiii", "--out", "x", "--data", "a.jsonl", "--corpus", "c.txt"), "leave out --data"),
        (("fit", "pat", "--out", "x", "--corpus", "c.txt"), "leave out --corpus"),
        (("fit", "ecso", "--out", "x"), "'ecso' is no defence that is fitted to a model"),
        (("fit", "nowhere", "--out", "x"), "Choose from adashield-a, alarm, esiii, gate, pat, uniguard"),
        (("evaluate", "--out", "x", "--defence", "pat"), "defence pat: a name is not enough"),
        (("evaluate", "--out", "x", "--defence", ""), "needs a name"),
        (("evaluate", "--out", "x", "--data", 300 * "x"), "too long"),
        (("fit", "pat", "--out", "x", "--set", "stepz=1"), "stepz"),
        (("fit", "pat", "--out", "x", "--set", "length=100000"), "less than or equal to 512"),
        (("vector", "--out", "x", "--model", "no-such/model"), "cannot load the model"),
    ],
)
def test_what_is_missing_is_named(
    arguments: tuple[str, ...],
    told: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    status, _, err = run(monkeypatch, capsys, *arguments)
    assert status == 2
    assert told in err and "Traceback" not in err
    assert not (tmp_path / "x").exists(), "nothing is half-written"


def test_a_broken_line_is_named_and_can_be_skipped(
    image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    good = [
        json.dumps(
            {"id": str(i), "image": image.name, "question": "count the shapes .", "answer": "x", "malicious": i < 4}
        )
        for i in range(8)
    ]
    data = image.parent / "data.jsonl"
    data.write_text("\n".join([*good[:3], "{broken", *good[3:]]))
    arguments = ("vector", "--out", tmp_path / "v", "--data", data)
    status, _, err = run(monkeypatch, capsys, *arguments)
    assert status == 2
    assert "data.jsonl" in err and "line 4" in err
    status, _, err = run(monkeypatch, capsys, *arguments, "--skip-bad")
    assert status == 0
    assert "1 bad records left out, 8 kept" in err


def test_an_unwritable_output_is_a_clear_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    status, _, err = run(monkeypatch, capsys, "testbed", "draw", "--out", tmp_path / "file" / "x", "--per-group", 1)
    assert status == 2
    assert "cannot write" in err


def test_a_folder_that_cannot_be_written_is_found_before_the_vector_is_made(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setattr("davsp.api.vector_for", lambda *_, **__: pytest.fail("the vector was made"))
    status, _, err = run(monkeypatch, capsys, "train", "--out", tmp_path / "file" / "x")
    assert status == 2
    assert "cannot write" in err


def test_a_border_that_does_not_fit_is_found_before_the_vector_is_made(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    status, _, err = run(monkeypatch, capsys, "train", "--set", "width=80", "--out", tmp_path / "prompt")
    assert status == 2
    assert "a border of 80 pixels does not suit a canvas of 112 x 112" in err
    assert not (tmp_path / "prompt").exists()


def test_a_dry_run_prints_what_it_would_cost_and_writes_nothing(
    model: VisionLanguageModel,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    vector: object,
) -> None:
    vector.save(tmp_path / "v")  # type: ignore[attr-defined]
    options = ("--set", "batch_size=4", "--set", "prefix=be careful .")  # the vector's own
    arguments = ("train", "--out", tmp_path / "x", "--vector", tmp_path / "v", "--dry-run", *options)
    status, out, _ = run(monkeypatch, capsys, *arguments)
    assert status == 0
    told = json.loads(out)
    assert told["prompt"] == [3, 112, 112]
    assert told["models"][0]["interiors"] == [[3, 84, 84]]
    assert told["seconds"]["whole_run"] > 0
    assert not (tmp_path / "x").exists()


def loaded_by(*arguments: object) -> set[str]:
    """The packages, and modules of packages, that a process has imported when it first asks a model."""
    code = f"""
import os, sys
from davsp.models.base import VisionLanguageModel
respond = VisionLanguageModel.respond
def asked(self, requests, max_new_tokens):
    if max_new_tokens == 2:
        return respond(self, requests, max_new_tokens)  # it is tried out before it is asked
    print(*sys.modules, file=sys.__stdout__, flush=True)
    os._exit(0)
VisionLanguageModel.respond = asked
sys.argv = {["davsp", *map(str, arguments)]!r}
from davsp.cli import main
main()
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return set(done.stdout.split())


HEAVY = {"sklearn", "datasets", "pandas", "pyarrow", "matplotlib", "torchvision", "tensorboard", "mkdocs"}
"""Packages that take their time, and that asking a model needs none of."""


def test_a_question_is_asked_before_anything_that_it_does_not_need_is_imported(image: Path) -> None:
    loaded = loaded_by("ask", image, "what is it ?")
    assert "torch" in loaded, "the model was asked"
    assert not (HEAVY | {"inspect_ai", "openai"}) & loaded


def test_an_evaluation_asks_before_it_imports_what_draws_its_page(tmp_path: Path) -> None:
    queries = tmp_path / "queries.jsonl"
    queries.write_text('{"image": "a.png", "question": "what is it ?", "malicious": true}\n')
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    loaded = loaded_by("evaluate", "--data", queries, "--out", tmp_path / "out")
    assert "inspect_ai" in loaded
    assert not HEAVY & loaded


def test_what_loads_no_model_does_not_wait_for_transformers_classes() -> None:
    code = """
import sys
import davsp.api, davsp.evaluation.run, davsp.prompts.apply
assert "transformers.modeling_utils" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_an_image_comes_and_goes_by_standard_streams_and_its_sizes_are_told(
    image: Path, saved_prompt: Path, tmp_path: Path
) -> None:
    def apply(source: object, target: object, given: bytes = b"") -> tuple[bytes, str]:
        call = [sys.executable, "-m", "davsp", "apply", saved_prompt, source, target]
        done = subprocess.run(list(map(str, call)), input=given, capture_output=True, check=True)
        return done.stdout, done.stderr.decode()

    told = "80 x 60 pixels became 112 x 112: the size at which the model sees an image.\n"
    assert apply(image, tmp_path / "a.png") == (b"", told)
    wanted = (tmp_path / "a.png").read_bytes()
    assert apply(image, "-") == (wanted, told)
    assert apply("-", "-", image.read_bytes()) == (wanted, told)
    assert apply("-", tmp_path / "b.png", image.read_bytes()) == (b"", told)
    assert (tmp_path / "b.png").read_bytes() == wanted


def test_a_folder_does_not_go_to_standard_output(
    image: Path, saved_prompt: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, err = run(monkeypatch, capsys, "apply", saved_prompt, image.parent, "-")
    assert (status, out) == (2, "") and "standard output takes one image" in err
