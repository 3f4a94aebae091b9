"""Fitted defences: stopped and gone on with, saved, and refused with a reason when they do not fit."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from davsp.data.query import Query
from davsp.defences import load_defence
from davsp.defences.base import FittingData
from davsp.defences.esiii import Esiii, EsiiiOptions
from davsp.defences.pat import Pat, PatFitting, PatOptions
from davsp.defences.uniguard import UniGuard, UniGuardOptions
from davsp.defences.visual_safety_prompt import VisualSafetyPrompt
from davsp.errors import ArtefactError, DavspError
from davsp.models.base import VisionLanguageModel
from davsp.searches.signed_steps import ChangeFitting
from davsp.testbed.corpora import forbidden_answers
from davsp.training.run_state import Interrupted, read_metrics

Sets = tuple[list[Query], list[Query]]


def fit_esiii(model: VisionLanguageModel, folder: Path, sentence: str = "be careful .") -> Esiii:
    return Esiii.fit(model, EsiiiOptions(steps=1), FittingData(corpus=[sentence]), folder, quiet=True)


@pytest.mark.parametrize("kind", ["uniguard", "pat"])
def test_a_run_that_is_stopped_and_gone_on_with_equals_one_that_is_not(
    kind: str, model: VisionLanguageModel, queries: Sets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fit(folder: Path) -> object:
        if kind == "pat":
            options = PatOptions(length=4, attack_length=3, steps=3, candidates=12, top_k=8, chunk=12)
            return Pat.fit(model, options, FittingData(queries[0]), folder, quiet=True).prefix
        data = FittingData(queries[0][:5], corpus=forbidden_answers())
        made = UniGuard.fit(model, UniGuardOptions(steps=6), data, folder, quiet=True)
        assert made.visual is not None
        return made.visual.pixels.tolist()

    stepping: Any = PatFitting if kind == "pat" else ChangeFitting
    original = stepping.step
    calls = []

    def stopping(self: object, number: int) -> object:
        calls.append(number)
        if len(calls) == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return original(self, number)

    monkeypatch.setattr(stepping, "step", stopping)
    with pytest.raises(Interrupted) as stop:
        fit(tmp_path / "stopped" / "x")
    assert stop.value.step == 2
    resumed = fit(tmp_path / "stopped" / "x")
    assert calls == list(range(len(calls)))
    assert resumed == fit(tmp_path / "whole" / "x")
    records = [read_metrics(tmp_path / run / "x") for run in ("stopped", "whole")]
    assert records[0] == records[1]


def test_another_run_in_the_same_folder_is_refused(model: VisionLanguageModel, tmp_path: Path) -> None:
    fit_esiii(model, tmp_path)
    with pytest.raises(ArtefactError, match="different: data"):
        fit_esiii(model, tmp_path, "say sorry .")


def test_a_run_that_lost_its_metrics_is_a_clear_error(model: VisionLanguageModel, tmp_path: Path) -> None:
    fit_esiii(model, tmp_path)
    (tmp_path / "metrics.jsonl").write_text("{no\n")
    for told in ("is damaged", "has lost its metrics"):
        with pytest.raises(ArtefactError, match=told):
            fit_esiii(model, tmp_path)
        (tmp_path / "metrics.jsonl").unlink()


def test_a_guard_for_another_model_is_refused(model: VisionLanguageModel, tmp_path: Path) -> None:
    fit_esiii(model, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    load_defence(tmp_path).check(model)
    config["base_model"]["weights"] = "another"
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(
        ArtefactError, match="fitted for testbed and not for testbed:\n  weights: testbed is of the same"
    ):
        load_defence(tmp_path).check(model)


def test_one_kind_is_not_read_as_another(model: VisionLanguageModel, tmp_path: Path) -> None:
    fit_esiii(model, tmp_path)
    with pytest.raises(ArtefactError, match="kind esiii, and not uniguard"):
        UniGuard.load(tmp_path)
    with pytest.raises(ArtefactError, match=r"baseline \(esiii\)"):
        VisualSafetyPrompt.load(tmp_path)


def test_a_damaged_folder_is_a_clear_error(model: VisionLanguageModel, tmp_path: Path) -> None:
    fit_esiii(model, tmp_path)
    intact = (tmp_path / "config.json").read_text()

    def damage(change: Callable[[dict[str, object]], None]) -> None:
        config = json.loads(intact)
        change(config)
        (tmp_path / "config.json").write_text(json.dumps(config))

    for change, told in (
        (lambda c: c.update(schema_version=9), "newer davsp"),
        (lambda c: c.update(kind="unheard"), "unknown kind"),
        (lambda c: c.update(kind=["pat"]), "unknown kind"),
        (lambda c: c.pop("base_model"), "damaged: base_model"),
        (lambda c: c.update(weights_sha256="0"), "is not the one that"),
    ):
        damage(change)
        with pytest.raises(DavspError, match=told):
            load_defence(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ArtefactError, match="damaged"):
        load_defence(tmp_path)
