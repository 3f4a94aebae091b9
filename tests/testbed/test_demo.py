"""The demo: what it makes for which model, that it goes on, and what it refuses."""

from __future__ import annotations

from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from davsp import demo
from davsp.defences.gate import Gate
from davsp.demo import run_demo
from davsp.errors import ArtefactError
from davsp.models.base import VisionLanguageModel
from davsp.models.loading import load_model
from davsp.models.shipped import CACHE, SMOL
from davsp.report.inputs import read_inputs
from davsp.results import read_results, read_transcripts
from davsp.testbed.queries import border_queries
from davsp.testbed.sources import FOLDER_VARIABLE
from davsp.training.batches import REFUSAL
from tests.command_line import run
from tests.testbed.texts import write_texts
from tests.tiny import save_tiny

GATED = ("gate", "gate+prefix")


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    return write_texts(tmp_path / "texts")


@pytest.fixture
def loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The precisions that the reader was loaded in. A tiny model stands in for it, and its gate is fitted to few
    queries."""
    reader = load_model(str(save_tiny("llava", tmp_path / "reader")))
    reader.name = SMOL
    dtypes: list[str] = []

    def load(name: str, *, dtype: str) -> VisionLanguageModel:
        assert name == SMOL
        dtypes.append(dtype)
        return reader

    monkeypatch.setattr(demo, "load_model", load)
    monkeypatch.setattr(demo, "FITTING_PER_KIND", {"train": 4, "validation": 5})
    monkeypatch.setattr(demo, "FITTED_SHARE", 0.1)
    return dtypes


@pytest.mark.slow
def test_on_the_reader_a_gate_is_fitted_and_compared_alone_and_before_the_prefix(
    loaded: list[str], texts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    results, page = run_demo(out, SMOL, seed=0, per_group=2, texts=texts)
    assert loaded == ["fast"]
    assert "takes about 12 minutes on two quiet cores" in capsys.readouterr().err
    assert list(results.defences) == ["none", "prefix", *GATED]
    assert (results.max_new_tokens, results.seconds.keys() >= {"load", "fit gate", "evaluate"}) == (24, True)
    asked = Counter((record.group, record.malicious) for record in read_transcripts(out))
    assert asked == {
        **{(kind, side): 2 for kind in ("figstep", "typo", "sd_typo", "text") for side in (True, False)},
        **{(skill, False): 2 for skill in ("reading", "counting", "colours")},
        ("xstest", False): 1,
    }
    assert Gate.load(out / "gate").facts.config["rate"] == 0.1
    behind = [record.answers["gate"].text for record in read_transcripts(out)]
    undefended = [record.answers["none"].text for record in read_transcripts(out)]
    assert all(answer in (REFUSAL, own) for answer, own in zip(behind, undefended, strict=True))
    written = page.read_text("utf-8")
    for heading in (f"<h1>A gate on {SMOL}</h1>", "Projections before gate+prefix</h2>"):
        assert heading in written
    assert "The border" not in written
    assert read_inputs(out).projections.keys() == {"malicious/before", "benign/before"}


@pytest.mark.slow
def test_on_the_reader_the_same_demo_goes_on_and_another_does_not(
    loaded: list[str], texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    first, _ = run_demo(out, SMOL, seed=0, per_group=1, texts=texts, quiet=True)

    def fit(*_: Any, **__: Any) -> None:
        raise AssertionError("the gate is there")

    monkeypatch.setattr(Gate, "fit", fit)
    again, _ = run_demo(out, SMOL, seed=0, per_group=1, texts=texts, quiet=True)
    assert again.defences == first.defences and read_results(out).identities == first.identities
    with pytest.raises(ArtefactError, match=r"gate holds the gate of another run \(different: data\)"):
        run_demo(out, SMOL, seed=1, per_group=1, texts=texts, quiet=True)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ("--model", SMOL, "--steps", 3),
            "the demo on testbed-smol fits a gate and trains no prompt: leave out --steps",
        ),
        (("--texts", "texts"), "testbed knows the words of its drawn world alone: leave out --texts"),
        (("--model", "some/model"), "choose from testbed, testbed-qwen2vl, testbed-smol"),
        (("--model", SMOL), "--texts FOLDER of a command that has it, or in the environment variable DAVSP_TEXTS"),
        (("--model", SMOL, "--texts", "nowhere"), "nowhere, which is no folder. Name one that holds advbench.json"),
    ],
)
def test_what_a_demo_has_not_or_needs_is_said_in_one_line(
    words: tuple[object, ...],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(FOLDER_VARIABLE, raising=False)
    status, _, errors = run(monkeypatch, capsys, "demo", *words, "--out", "out")
    assert (status, len(errors.splitlines())) == (2, 1)
    assert said in errors
    assert not (tmp_path / "out").exists()


def test_a_reader_that_is_not_there_is_said_to_be_fetched(
    texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(CACHE, str(tmp_path / "cache"))
    monkeypatch.setenv(FOLDER_VARIABLE, str(texts))
    status, _, errors = run(monkeypatch, capsys, "demo", "--model", SMOL, "--out", tmp_path / "out")
    assert (status, errors.count("\n")) == (2, 1)
    assert "Run: davsp testbed fetch smol" in errors


@pytest.mark.slow
def test_in_the_drawn_world_a_prompt_and_its_ablations_are_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "border_queries", partial(border_queries, per_group=2, checks_per_group=1))
    results, page = run_demo(tmp_path, "testbed", seed=0, per_group=1, steps=1, quiet=True)
    assert list(results.defences) == ["none", "prefix", "border", "no_deep_alignment", "additive", "davsp"]
    assert results.max_new_tokens == 20
    written = page.read_text("utf-8")
    for heading in ("<h1>Visual safety prompt on testbed</h1>", "The border of davsp", "Training of davsp"):
        assert heading in written
