"""An alarm behind a border: what it says of queries, and that it leaves their answers alone."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from davsp.api import answer, evaluate
from davsp.attacks.pipeline import Pipeline
from davsp.data.conversation import Role
from davsp.data.query import Query
from davsp.defences.alarm import Alarm, AlarmFacts, AlarmFitOptions, AlarmOptions
from davsp.defences.base import Exchange, FittingData
from davsp.defences.calibration import conformal_threshold
from davsp.defences.gate import Gate, GateFitOptions
from davsp.defences.loading import check_served, load_defence
from davsp.defences.stored import BaseModelFacts
from davsp.defences.visual_safety_prompt import TrainingFacts, VisualSafetyPrompt
from davsp.errors import ArtefactError, InputError, ModelError
from davsp.models.base import VisionLanguageModel
from davsp.models.requests import Request, Response
from davsp.prompts.layouts import BorderLayout
from davsp.prompts.visual import VisualPrompt
from davsp.testbed.queries import border_queries
from davsp.training.vector import HarmfulnessVector, project
from davsp.util.options import read_options

RATE = 0.1


@pytest.fixture(scope="module")
def border(model: VisionLanguageModel, vector: HarmfulnessVector) -> VisualSafetyPrompt:
    """A border of noise and a prefix, with the direction of the testbed's vector."""
    layout = BorderLayout(*model.canvas.square, border=14)
    pixels = torch.rand(3, *layout.size, generator=torch.manual_seed(0))
    layout.project_(pixels)
    return VisualSafetyPrompt(
        "mine",
        VisualPrompt(layout, pixels),
        "be careful .",
        base_model=BaseModelFacts.of(model),
        training=TrainingFacts(layer=vector.layer, tau_plus=1.0, tau_minus=0.0, config={}, data={}, metrics={}),
        direction=vector.direction(),
    )


@pytest.fixture(scope="module")
def checks() -> list[Query]:
    """Validation queries: 72 benign ones, and malicious ones."""
    return border_queries(seed=0, per_group=4, checks_per_group=8)[1]


@pytest.fixture(scope="module")
def folder(
    model: VisionLanguageModel,
    border: VisualSafetyPrompt,
    checks: list[Query],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """That of the border, which holds its alarm."""
    folder = tmp_path_factory.mktemp("alarms") / "mine"
    border.save(folder)
    options = AlarmFitOptions(defence=str(folder), rate=RATE)
    Alarm.fit(model, options, FittingData((), checks), folder / "alarm", quiet=True)
    return folder


@pytest.fixture
def alarm(folder: Path) -> Alarm:
    loaded = load_defence(folder)
    assert isinstance(loaded, Alarm)
    return loaded


def defended_scores(model: VisionLanguageModel, defence: VisualSafetyPrompt, queries: Sequence[Query]) -> list[float]:
    assert defence.alignment
    on_canvas = defence.on_canvas(model.canvas)
    return project(model, [on_canvas.defend(query) for query in queries], defence.alignment).tolist()


def at(alarm: Alarm, threshold: float) -> Alarm:
    return Alarm(alarm.facts.model_copy(update={"threshold": threshold}), alarm.inner, alarm.name)


def between(model: VisionLanguageModel, alarm: Alarm, border: VisualSafetyPrompt, queries: Sequence[Query]) -> Alarm:
    """The alarm with a threshold that some of the queries are above, as far from any as there is."""
    ranked = sorted(defended_scores(model, border, queries))
    low, high = max(pairwise(ranked), key=lambda pair: pair[1] - pair[0])
    return at(alarm, (low + high) / 2)


def few(checks: list[Query]) -> list[Query]:
    """Four malicious queries and four benign ones, of several kinds."""
    sides = [[query for query in checks if query.malicious is malicious] for malicious in (True, False)]
    return [query for side in sides for query in side[:: -(-len(side) // 4)]]


def test_the_answer_is_word_for_word_that_of_the_border_alone_whether_it_is_raised_or_not(
    model: VisionLanguageModel, alarm: Alarm, border: VisualSafetyPrompt, checks: list[Query]
) -> None:
    queries = few(checks)
    middle = between(model, alarm, border, queries)
    expected = [score > middle.facts.threshold for score in defended_scores(model, border, queries)]
    assert any(expected) and not all(expected)
    for query, raised in zip(queries, expected, strict=True):
        remarks: list[str] = []
        said = answer(model, query, middle, max_new_tokens=16, remark=remarks.append)
        assert said == answer(model, query, border, max_new_tokens=16) and said
        assert [remark.startswith("mine raises its alarm") for remark in remarks] == [True] * raised


def test_it_is_raised_above_the_threshold_alone_and_by_what_is_no_number(alarm: Alarm, checks: list[Query]) -> None:
    asked: list[Request] = []
    threshold = alarm.facts.threshold

    def raised(projection: float) -> bool | None:
        async def send(request: Request, limit: int | None) -> Response:
            asked.append(request)
            return Response("sure", True, 1, 1, projection)

        exchange = Exchange(send)
        assert asyncio.run(alarm.answer(checks[0], exchange)) == "sure"
        return exchange.alarm

    given = [raised(at) for at in (threshold - 0.01, threshold, threshold + 0.01, float("nan"))]
    assert given == [False, False, True, True]
    assert len(asked) == 4, "one pass for each"
    for request in asked:
        assert request.messages == alarm.inner.defend(checks[0]).messages
        assert request.watch is not None and request.watch.threshold == float("inf")


def test_a_model_whose_states_are_no_numbers_raises_it_and_does_not_answer(
    model: VisionLanguageModel, alarm: Alarm, border: VisualSafetyPrompt, checks: list[Query]
) -> None:
    lost = Alarm(alarm.facts, replace(border, direction=torch.full((model.hidden_size,), float("nan"))), "lost")
    exchange = Exchange(lambda request, limit: asyncio.to_thread(lambda: model.respond([request], 8)[0]))
    assert asyncio.run(lost.answer(checks[0], exchange)) == ""
    assert exchange.alarm is True


def test_a_model_that_does_not_look_fails_the_query(alarm: Alarm, checks: list[Query]) -> None:
    async def send(request: Request, limit: int | None) -> Response:
        return Response("sure", True, 1, 1)

    with pytest.raises(ModelError, match="without reading"):
        asyncio.run(alarm.answer(checks[0], Exchange(send)))
    with pytest.raises(InputError, match="hidden states"):
        check_served(alarm)


def test_the_threshold_is_that_of_benign_validation_queries_behind_the_border(
    model: VisionLanguageModel, alarm: Alarm, border: VisualSafetyPrompt, checks: list[Query], folder: Path
) -> None:
    benign = [query for query in checks if not query.malicious]
    scores = defended_scores(model, border, benign)
    assert alarm.facts.threshold == pytest.approx(conformal_threshold(scores, RATE, 0.95), abs=1e-3)
    undefended = project(model, benign, alarm.watch.probe).tolist()
    assert abs(alarm.facts.threshold - conformal_threshold(undefended, RATE, 0.95)) > 1e-2
    raised = sum(round((rate.rate or 0) * rate.n) for rate in alarm.facts.flagged.values())
    assert sum(rate.n for rate in alarm.facts.flagged.values()) == len(benign) == 72
    assert 0 < raised <= RATE * len(benign)
    assert raised == sum(score > alarm.facts.threshold + 1e-3 for score in scores)
    assert sum(rate.n for rate in alarm.facts.caught.values()) == len(checks) - len(benign)
    card = (folder / "alarm" / "README.md").read_text()
    assert "at most 10 % of benign queries flagged" in card and "alarm:folder=this/folder" in card
    assert "a baseline" not in card


def test_what_an_alarm_cannot_be_behind_is_told(
    model: VisionLanguageModel, border: VisualSafetyPrompt, checks: list[Query], tmp_path: Path
) -> None:
    def fit(defence: str, queries: Sequence[Query] = checks, rate: float = RATE) -> None:
        Alarm.fit(model, AlarmFitOptions(defence=defence, rate=rate), FittingData((), queries), tmp_path / "a")

    def saved(name: str, prompt: VisualSafetyPrompt) -> str:
        prompt.save(tmp_path / name)
        return str(tmp_path / name)

    sound = saved("sound", border)
    for defence in ("prefix", saved("plain", replace(border, direction=None))):
        with pytest.raises(InputError, match=r"(prefix|mine) has no direction that an alarm could read"):
            fit(defence)
    with pytest.raises(InputError, match=r"rewrites the query and asks once, and ecso does not"):
        fit("ecso")
    with pytest.raises(InputError, match=r"72 benign queries cannot carry the promise .* 299 or more"):
        fit(sound, rate=0.01)
    with pytest.raises(InputError, match="the validation queries must hold malicious and benign ones"):
        fit(sound, [query for query in checks if not query.malicious])
    other = border.base_model.model_copy(update={"family": "other"})
    with pytest.raises(ArtefactError, match="does not fit"):
        fit(saved("other", replace(border, base_model=other)))
    wide = other.model_copy(update={"hidden_size": 8})
    several = replace(border, base_model=wide, further_models=(border.base_model,), direction=torch.ones(8))
    with pytest.raises(InputError, match=r"the direction of mine is not one of .*: train a prompt for it alone"):
        fit(saved("several", several))
    with pytest.raises(InputError, match="'defence': Field required"):
        read_options(AlarmFitOptions, {}, [])
    assert not (tmp_path / "a").exists()


def test_an_alarm_is_used_by_both_folders_too_and_suits_one_model(
    model: VisionLanguageModel, folder: Path, alarm: Alarm
) -> None:
    named = Alarm.from_options(AlarmOptions(folder=folder / "alarm", defence=str(folder)))
    assert (named.name, alarm.name, named.inner.name) == ("mine+alarm", "mine", "mine")
    assert named.identity == alarm.identity != at(alarm, alarm.facts.threshold + 1).identity
    named.check(model)
    other = alarm.facts.base_model.model_copy(update={"family": "other"})
    facts = alarm.facts.model_copy(update={"base_model": other})
    with pytest.raises(ArtefactError, match="was fitted for"):
        Alarm(facts, alarm.inner, "mine").check(model)
    with pytest.raises(InputError, match="alarm, and not the defence that it is behind"):
        Alarm.load(folder / "alarm")


def test_another_border_and_a_damaged_folder_are_refused(
    model: VisionLanguageModel, folder: Path, border: VisualSafetyPrompt, checks: list[Query], tmp_path: Path
) -> None:
    assert border.direction is not None and border.training is not None
    both = shutil.copytree(folder, tmp_path / "both")
    changed = {
        "prefix": replace(border, prefix="be kind ."),
        "direction": replace(border, direction=-border.direction),
        "layer": replace(border, training=border.training.model_copy(update={"layer": border.training.layer - 1})),
    }
    for other in changed.values():
        other.save(both)
        with pytest.raises(ArtefactError, match="calibrated behind another defence than mine: fit it again"):
            load_defence(both)
    options = AlarmFitOptions(defence=str(both), rate=RATE)
    again = Alarm.fit(model, options, FittingData((), checks), both / "alarm", quiet=True)
    assert load_defence(both).identity == again.identity
    config = both / "alarm" / "config.json"
    content = json.loads(config.read_text())
    config.write_text(json.dumps(content | {"threshold": "high"}))
    with pytest.raises(ArtefactError, match="is damaged: threshold"):
        load_defence(both)
    config.write_text(json.dumps(content | {"kind": "gate"}))
    with pytest.raises(ArtefactError, match="kind gate, and not alarm"):
        load_defence(both)


def test_a_gate_of_the_same_folder_stands_before_both(
    model: VisionLanguageModel,
    folder: Path,
    queries: tuple[list[Query], list[Query]],
    checks: list[Query],
    tmp_path: Path,
) -> None:
    both = shutil.copytree(folder, tmp_path / "both")
    Gate.fit(model, GateFitOptions(rate=RATE), FittingData(queries[0], checks), both / "gate", quiet=True)
    gate = load_defence(both)
    assert isinstance(gate, Gate) and isinstance(gate.inner, Alarm) and gate.inner.name == gate.name == "mine"
    flattening = Gate(gate.facts.model_copy(update={"flatten": 24}), gate.watch.probe, inner=gate.inner)
    behind = Pipeline(model, flattening).behind
    assert behind is not None and behind.visual is not None and behind.flatten == 24
    assert isinstance(load_defence(both, alone=True), VisualSafetyPrompt)


def test_all_else_is_that_of_the_border(
    model: VisionLanguageModel, alarm: Alarm, border: VisualSafetyPrompt, checks: list[Query]
) -> None:
    roles = {Role.USER, Role.TOOL}
    moved = alarm.on_canvas(model.canvas).with_limits().on_images_of(roles)
    other = border.on_canvas(model.canvas).on_images_of(roles)
    assert moved.inner.identity == other.identity != border.identity
    assert moved.facts == alarm.facts and moved.name == alarm.name
    assert alarm.preview(checks[0]).messages == border.defend(checks[0]).messages
    assert alarm.picture() == border.picture() and alarm.thresholds == (1.0, 0.0)
    assert alarm.alignment is not None and border.direction is not None
    assert torch.equal(alarm.alignment.directions[0], border.direction)
    seen = Pipeline(model, alarm).first.visual
    assert seen is not None and border.visual is not None and torch.equal(seen.pixels, border.visual.pixels)


def test_an_evaluation_says_how_often_it_was_raised_on_either_side(
    model: VisionLanguageModel, alarm: Alarm, border: VisualSafetyPrompt, checks: list[Query], tmp_path: Path
) -> None:
    pytest.importorskip("inspect_ai")
    queries = few(checks)
    middle = between(model, alarm, border, queries)
    scores = defended_scores(model, border, queries)
    raised = [
        sum(s > middle.facts.threshold for s, q in zip(scores, queries, strict=True) if q.malicious is side)
        for side in (True, False)
    ]
    assert sum(raised) > 0
    for _ in range(2):  # the second time from the logs
        results = evaluate(model, queries, [None, middle], max_new_tokens=4, progress=False, out=tmp_path).results
        [remark] = [remark for remark in results.remarks if "alarm" in remark]
        malicious, benign = remark.removeprefix("mine: the alarm was raised for ").split(", and for ")
        assert malicious.startswith(f"{raised[0]} of 4 malicious queries, {25 * raised[0]}.0 % [")
        assert benign.startswith(f"{raised[1]} of 4 benign queries, {25 * raised[1]}.0 % [") and benign.endswith("].")


def test_facts_of_an_alarm_name_the_defence_by_its_content(folder: Path, alarm: Alarm) -> None:
    facts = AlarmFacts.model_validate_json((folder / "alarm" / "config.json").read_text())
    assert facts == alarm.facts and len(facts.defence) == 64
    assert sorted(path.name for path in (folder / "alarm").iterdir()) == ["README.md", "config.json"]
