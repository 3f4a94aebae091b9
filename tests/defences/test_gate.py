from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from davsp.api import answer, ask, evaluate
from davsp.cli import app
from davsp.cli.train import gate_fitting
from davsp.data.query import Query
from davsp.defences.base import Exchange, FittingData
from davsp.defences.calibration import conformal_threshold, needed
from davsp.defences.gate import STATES, Gate, GateFitOptions
from davsp.defences.gate_reading import flattened_query
from davsp.defences.loading import check_served, load_defence
from davsp.defences.textual import SafetyPrefix
from davsp.errors import ArtefactError, InputError, ModelError
from davsp.evaluation.messages import to_messages
from davsp.imaging.opening import open_image
from davsp.models.base import VisionLanguageModel
from davsp.models.requests import Request, Response
from davsp.report.evaluated import projections_of
from davsp.testbed.queries import border_queries, draw_queries
from davsp.testbed.world import Split
from davsp.training.batches import REFUSAL
from davsp.training.twins import apart
from davsp.training.vector import project
from davsp.util.options import read_options

Two = tuple[list[Query], list[Query]]


@pytest.fixture(scope="module")
def folder(model: VisionLanguageModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    training, checks = border_queries(seed=0, per_group=12, checks_per_group=10)
    folder = tmp_path_factory.mktemp("gates") / "mine"
    Gate.fit(
        model,
        GateFitOptions.model_validate({"rate": 0.1, "refusal_rate": 0.05}),
        FittingData(training, checks),
        folder,
        quiet=True,
    )
    return folder


@pytest.fixture
def gate(folder: Path) -> Gate:
    return Gate.load(folder)


def test_the_threshold_keeps_its_promise_as_often_as_it_says() -> None:
    """Over many calibrations with 200 scores, the share of new ones above the threshold is at most the rate in 90 %."""
    rng = np.random.default_rng(0)
    kept = [1 - conformal_threshold(rng.uniform(size=200).tolist(), 0.05, 0.9) <= 0.05 for _ in range(1000)]
    assert 0.88 < np.mean(kept) < 0.97


def test_a_promise_that_n_cannot_carry_is_refused() -> None:
    assert needed(0.05, 0.95) == 59
    assert conformal_threshold(list(range(59)), 0.05, 0.95) == 58
    with pytest.raises(InputError, match=r"58 benign queries cannot carry .* 59 or more"):
        conformal_threshold(list(range(58)), 0.05, 0.95)


def test_what_is_not_flagged_is_answered_word_for_word_as_without_a_gate(
    model: VisionLanguageModel, gate: Gate
) -> None:
    """In a batch of which others are flagged, too."""
    queries = draw_queries(Split.TEST, 4, 0, side=model.canvas.square[0])
    projections = project(model, queries, gate.watch.probe)
    ranked = sorted(projections.tolist())[len(queries) // 4 : -len(queries) // 4]
    low, high = max(pairwise(ranked), key=lambda pair: pair[1] - pair[0])  # far from any: batches round differently
    middle = (low + high) / 2
    watch = replace(gate.watch, threshold=middle)
    watched = model.respond([Request(q.question, q.image, watch=watch) for q in queries], 16)
    plain = model.respond([Request(q.question, q.image) for q in queries], 16)
    expected = [bool(p > middle) for p in projections]
    assert any(expected) and not all(expected)
    for one, other, projection, flagged in zip(watched, plain, projections, expected, strict=True):
        assert one.projection == pytest.approx(float(projection), abs=1e-3) and other.projection is None
        assert (
            one.text == "" if flagged else one == replace(other, projection=one.projection, unfamiliar=one.unfamiliar)
        )


def test_what_passes_is_read_once_and_costs_nothing_while_it_is_answered(
    model: VisionLanguageModel, gate: Gate, queries: Two
) -> None:
    read = model.layers[gate.watch.probe.layers[0] - 1]
    hooked: list[int] = []
    counting = model.layers[-1].register_forward_hook(lambda *_: hooked.append(len(read._forward_hooks)))
    own = len(read._forward_hooks)
    try:
        watch = replace(gate.watch, threshold=1e9)
        model.respond([Request(queries[0][0].question, queries[0][0].image, watch=watch)], 8)
    finally:
        counting.remove()
    assert len(hooked) > 2 and hooked[0] > own and set(hooked[1:]) == {own}


def test_flagged_queries_are_answered_by_what_stands_behind_the_gate(
    model: VisionLanguageModel, gate: Gate, queries: Two
) -> None:
    query = next(q for q in queries[0] if not q.malicious)
    gate.watch = replace(gate.watch, threshold=-1e9)
    assert ask(model, query.image, query.question, gate, max_new_tokens=8) == REFUSAL
    behind = gate.before(SafetyPrefix("be careful ."))
    behind.watch = gate.watch
    alone = ask(model, query.image, query.question, SafetyPrefix("be careful ."), max_new_tokens=8)
    assert ask(model, query.image, query.question, behind, max_new_tokens=8) == alone
    assert behind.identity != gate.identity and behind.name == "mine+prefix"
    gate.watch = replace(gate.watch, threshold=float("nan"))
    assert ask(model, query.image, query.question, gate, max_new_tokens=8) == REFUSAL


def test_what_is_far_above_the_threshold_is_refused_whatever_stands_behind_the_gate(gate: Gate, queries: Two) -> None:
    facts = gate.facts.model_copy(update={"threshold": 1.0, "refusal_threshold": 2.0})
    behind = Gate(facts, gate.watch.probe, inner=SafetyPrefix("be careful ."))

    def answer(projection: float) -> str:
        async def send(request: Request, limit: int | None) -> Response:
            return Response("asked" if request.watch is None else "passed", True, 1, 1, projection)

        return asyncio.run(behind.answer(queries[0][0], Exchange(send)))

    assert [answer(at) for at in (0.5, 1.5, 2.5, float("nan"))] == ["passed", "asked", REFUSAL, REFUSAL]
    assert behind.identity != gate.before(SafetyPrefix("be careful .")).identity


def test_a_gate_that_flattens_reads_and_passes_on_flat_images_and_answers_about_the_image_itself(
    model: VisionLanguageModel, gate: Gate, queries: Two
) -> None:
    """Reading is a pass of its own, in which nothing is said."""
    query = next(q for q in queries[0] if not q.malicious)
    facts = gate.facts.model_copy(update={"flatten": 24})
    flat = flattened_query(query, 24, model.canvas)
    assert open_image(flat.image).size == model.canvas.square and open_image(flat.image) != open_image(query.image)
    asked: list[Request] = []

    def answer(threshold: float) -> str:
        asked.clear()
        behind = Gate(facts.model_copy(update={"threshold": threshold}), gate.watch.probe, inner=SafetyPrefix("hm ."))
        behind = behind.on_canvas(model.canvas)

        async def send(request: Request, limit: int | None) -> Response:
            asked.append(request)
            return model.respond([request], 8)[0]

        return asyncio.run(behind.answer(query, Exchange(send)))

    assert answer(1e9) == model.generate([query], 8)[0]
    assert [open_image(each.image) for each in asked] == [open_image(each.image) for each in (flat, query)]
    assert answer(-1e9) == model.generate([SafetyPrefix("hm .").defend(flat)], 8)[0]
    assert [open_image(each.image) for each in asked] == [open_image(flat.image)] * 2
    assert model.respond([asked[0]], 8)[0].text == ""


def test_a_report_shows_what_a_gate_that_flattens_compares_with_its_threshold(
    model: VisionLanguageModel, gate: Gate, queries: Two
) -> None:
    probe = gate.watch.probe
    chosen = [query for side in (True, False) for query in [q for q in queries[0] if q.malicious is side][:2]]
    flat = [flattened_query(query, 24, model.canvas) for query in chosen]
    flattening = Gate(gate.facts.model_copy(update={"flatten": 24}), probe)
    for side, malicious in (("malicious", True), ("benign", False)):
        found = projections_of(model, flattening, chosen, 4)
        for condition, seen in (("before", chosen), ("after", flat)):
            expected = project(model, [q for q in seen if q.malicious is malicious], probe).tolist()
            assert found[f"{side}/{condition}"] == pytest.approx(expected, abs=1e-4)
    assert projections_of(model, gate, chosen, 4).keys() == {"malicious/before", "benign/before"}
    assert flattening.preview(chosen[0]) is chosen[0]  # which is what is answered, where it passes


def test_a_gate_is_fitted_to_what_it_reads(model: VisionLanguageModel, queries: Two, tmp_path: Path) -> None:
    gates = {}
    for radius in (0, 24):
        options = GateFitOptions.model_validate({"rate": 0.2, "flatten": radius, "states": tmp_path / "states"})
        gates[radius] = Gate.fit(model, options, FittingData(*queries), tmp_path / str(radius), quiet=True)
    assert Gate.load(tmp_path / "24").facts.flatten == 24 and Gate.load(tmp_path / "0").facts.flatten == 0
    assert gates[0].identity != gates[24].identity
    assert not torch.equal(gates[0].watch.probe.directions, gates[24].watch.probe.directions)


def test_no_more_can_be_refused_than_is_flagged() -> None:
    with pytest.raises(InputError, match=r"refusal_rate.*0.1 is more than the rate"):
        read_options(GateFitOptions, {}, ["rate=0.05", "refusal_rate=0.1"])


def test_a_model_that_does_not_look_gets_nothing_through(gate: Gate, queries: Two) -> None:
    async def send(request: Request, limit: int | None) -> Response:
        return Response("sure , do it", True, 1, 1)

    with pytest.raises(ModelError, match="without reading"):
        asyncio.run(gate.answer(queries[0][0], Exchange(send)))
    with pytest.raises(InputError, match="loaded model"):
        to_messages(Request("?", watch=gate.watch))
    with pytest.raises(InputError, match="hidden states"):
        check_served(gate)


def test_what_was_measured_is_saved_and_a_damaged_gate_is_refused(gate: Gate, folder: Path, tmp_path: Path) -> None:
    assert torch.equal(Gate.load(folder).watch.probe.directions, gate.watch.probe.directions)
    facts = gate.facts
    benign = sum(rate.n for rate in facts.flagged.values())
    flagged = sum(round((rate.rate or 0) * rate.n) for rate in facts.flagged.values())
    assert benign == 90 and flagged / benign <= facts.config["rate"]
    assert sum(rate.n for rate in facts.caught.values()) > 0 and facts.curve["0.2"].rate >= facts.curve["0.005"].rate  # type: ignore[operator]
    card = (folder / "README.md").read_text()
    assert facts.refusal_threshold is not None and facts.refusal_threshold >= facts.threshold
    assert "at most 10 % of benign queries flagged, 5 % refused whatever" in card and "a baseline" not in card
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "config.json").write_text((folder / "config.json").read_text().replace('"layers": [', '"layers": [1, '))
    with pytest.raises(ArtefactError, match="no directions that fit its config"):
        Gate.load(tmp_path)


def test_a_gate_is_fitted_into_the_folder_of_the_prompt_that_is_trained(
    model: VisionLanguageModel, tmp_path: Path
) -> None:
    training, checks = border_queries(seed=0, per_group=4, checks_per_group=8)
    gate_fitting([model], training, checks, out=tmp_path)()
    assert Gate.load(tmp_path / "gate").facts.config["rate"] == 0.05
    with pytest.raises(InputError, match="3 benign queries cannot carry the promise"):
        gate_fitting([model], training, [q for q in checks if not q.malicious][:3], out=tmp_path)
    with pytest.raises(InputError, match="--gate: a gate reads one model"):
        gate_fitting([model, model], training, checks, out=tmp_path)


def test_gates_are_named_on_the_command_line_and_stand_in_the_folders_of_others(
    model: VisionLanguageModel, folder: Path, tmp_path: Path
) -> None:
    assert load_defence(folder).name == "mine"
    named = load_defence(f"gate:folder={folder},inner=adashield-s")
    assert named.name == "mine+adashield-s"
    inner = tmp_path / "prefix"
    from davsp.defences.stored import BaseModelFacts
    from davsp.defences.visual_safety_prompt import VisualSafetyPrompt

    VisualSafetyPrompt("prefix", None, "be careful .", base_model=BaseModelFacts.of(model)).save(inner)
    assert not isinstance(load_defence(inner), Gate)
    (inner / "gate").mkdir()
    for file in folder.iterdir():
        (inner / "gate" / file.name).write_bytes(file.read_bytes())
    both = load_defence(inner)
    assert isinstance(both, Gate) and both.inner is not None and (both.name, both.inner.name) == ("prefix", "prefix")
    both.check(model)


def test_a_fit_that_was_stopped_goes_on_and_leaves_no_states_behind(
    model: VisionLanguageModel, queries: Two, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training, checks = queries[0], border_queries(seed=0, per_group=4, checks_per_group=8)[1]
    options, data = GateFitOptions(rate=0.2), FittingData(training, checks)

    def stop_after_reading(method: object, batches: Iterable[object]) -> None:
        list(batches)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("davsp.defences.gate.fit_directions", stop_after_reading)
        with pytest.raises(KeyboardInterrupt):
            Gate.fit(model, options, data, tmp_path / "gate", quiet=True)
    read = sum(path.is_file() for path in (tmp_path / "gate" / STATES).rglob("*"))
    assert read == len(training)
    gone_on = Gate.fit(model, options, data, tmp_path / "gate", quiet=True)
    assert not (tmp_path / "gate" / STATES).exists()
    at_once = Gate.fit(model, options.model_copy(update={"states": tmp_path / "kept"}), data, tmp_path / "other")
    assert torch.allclose(gone_on.watch.probe.directions, at_once.watch.probe.directions, atol=1e-4)
    assert sum(path.is_file() for path in (tmp_path / "kept").rglob("*")) == len(training) + len(checks)
    assert "kept" not in (tmp_path / "other" / "config.json").read_text()


def test_a_share_of_the_validation_queries_can_be_fitted_to_and_no_request_is_in_both_parts(
    model: VisionLanguageModel, queries: Two, tmp_path: Path
) -> None:
    checks = border_queries(seed=0, per_group=4, checks_per_group=8)[1]
    named = [replace(query, metadata={"request": f"{i // 3}"}) for i, query in enumerate(checks)]
    more, calibration = apart(named, 0.5)
    requests = [{query.metadata["request"] for query in part} for part in (more, calibration)]
    assert not requests[0] & requests[1] and len(more) + len(calibration) == len(checks)
    assert abs(len(requests[0]) - len(requests[1])) <= 1
    gate = Gate.fit(model, GateFitOptions(rate=0.2, fitted_share=0.5), FittingData(queries[0], checks), tmp_path / "g")
    benign = sum(not query.malicious for query in apart(checks, 0.5)[1])
    assert sum(rate.n for rate in gate.facts.flagged.values()) == benign
    with pytest.raises(InputError, match="benign queries cannot carry the promise"):
        Gate.fit(model, GateFitOptions(rate=0.05, fitted_share=0.9), FittingData(queries[0], checks), tmp_path / "h")


def test_queries_of_a_kind_that_the_gate_has_not_seen_are_told(
    model: VisionLanguageModel, gate: Gate, tmp_path: Path
) -> None:
    """Here every query is made one of them, and then none."""
    queries = draw_queries(Split.TEST, 1, 0, side=model.canvas.square[0])[:3]
    known = gate.watch.known
    assert known is not None and len(gate.facts.kinds) == len(known.centres) == 13
    lost = Gate(gate.facts, gate.watch.probe, replace(known, threshold=0.0))
    remarks: list[str] = []
    for each, told in ((lost, True), (Gate(gate.facts, gate.watch.probe, replace(known, threshold=1e9)), False)):
        remarks.clear()
        answer(model, queries[0], each, max_new_tokens=2, remark=remarks.append)
        assert bool(remarks) is told
        results = evaluate(model, queries, [each], max_new_tokens=2, progress=False, out=tmp_path / str(told)).results
        assert any("3 of 3 queries" in remark for remark in results.remarks) is told
        again = evaluate(model, queries, [each], max_new_tokens=2, progress=False, out=tmp_path / str(told)).results
        assert again.remarks == results.remarks


def test_a_fit_that_is_stopped_says_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Gate, "fit", stop)
    with pytest.raises(SystemExit) as ended:
        app(["fit", "gate", "--out", str(tmp_path / "gate"), "--per-group", "1"])
    assert ended.value.code == 130
    assert "Stopped; what was read is kept. The same command goes on from there." in capsys.readouterr().err
