"""Training agrees with the paper's formulas, stays within valid pixels, stops and resumes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from davsp.data.query import Query
from davsp.defences.stored import BaseModelFacts
from davsp.defences.visual_safety_prompt import VisualSafetyPrompt, train_prompt
from davsp.errors import ArtefactError, InputError, ModelError
from davsp.models.base import VisionLanguageModel
from davsp.prompts.layouts import BorderLayout, Mode
from davsp.training.batches import Shuffle
from davsp.training.config import PAPER, Sampling, TrainConfig, read_config
from davsp.training.loop import resume
from davsp.training.losses import alignment_loss, answer_loss
from davsp.training.objective import Objective, plan
from davsp.training.optim import Method, PixelOptimizer
from davsp.training.run_state import Interrupted, read_metrics
from davsp.training.trainer import Trainer
from davsp.training.vector import HarmfulnessVector
from tests.reference.deep_alignment import Method as Reference
from tests.reference.deep_alignment import Sample, alignment, answer_cross_entropy

Sets = tuple[list[Query], list[Query]]


def make_trainer(model: VisionLanguageModel, vector: HarmfulnessVector, queries: Sets, **options: object) -> Trainer:
    quick = {"prefix": "be careful .", "steps": 4, "validate_every": 2, "validation_answers": 2, "batch_size": 6}
    filled = plan(model, vector, TrainConfig.model_validate(quick | options))
    return Trainer([Objective(model, filled, vector.direction(filled.layer), *queries)])


def reference_of(trainer: Trainer) -> Reference:
    image = trainer.objectives[0].model.processor.image_processor
    mean, std = (torch.tensor(v)[:, None, None] for v in (image.image_mean, image.image_std))
    p = trainer.objectives[0].plan
    layout = BorderLayout.for_model(
        trainer.objectives[0].model, side=p.config.side, width=p.config.width, eps=p.config.eps
    )
    assert layout == p.layout
    return Reference(
        trainer.objectives[0].model.model,
        mean,
        std,
        layout.border,
        p.layer,
        trainer.objectives[0].direction,
        p.tau_plus,
        p.tau_minus,
        p.config.answer_weight,
    )


def samples_of(trainer: Trainer, malicious: bool, indices: list[int]) -> list[Sample]:
    side = trainer.objectives[0].sides[malicious]
    return [
        Sample(side.interiors[i].float() / 255, side.prompts[i].tolist(), side.answers[i].tolist(), malicious)
        for i in indices
    ]


@pytest.mark.parametrize("malicious", [True, False])
def test_the_hinge_agrees_with_the_reference(malicious: bool) -> None:
    projections = torch.linspace(-5, 30, 9)
    fast = alignment_loss(projections, malicious, 27.0, -2.0)
    assert torch.equal(fast, torch.stack([alignment(p, malicious, 27.0, -2.0) for p in projections]))


def test_answer_loss_averages_each_answer_over_its_own_tokens() -> None:
    logits = torch.randn(2, 4, 7)
    labels = torch.tensor([[-100, 3, 2, -100], [-100, -100, 5, -100]])
    rows, columns = (labels != -100).nonzero(as_tuple=True)
    found = answer_loss(logits[rows, columns], labels[rows, columns], rows, 2)
    p = logits.softmax(-1)
    expected = torch.stack([-(p[0, 1, 3].log() + p[0, 2, 2].log()) / 2, -p[1, 2, 5].log()])
    assert torch.allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize(("malicious", "answered"), [(True, False), (True, True), (False, True)])
def test_a_batch_loss_and_its_gradient_agree_with_the_reference(
    model: VisionLanguageModel,
    vector: HarmfulnessVector,
    queries: Sets,
    malicious: bool,
    answered: bool,
) -> None:
    trainer = make_trainer(model, vector, queries, answer_weight=0.5)
    indices = [0, 3, 7]
    prompt = trainer.prompt.clone().requires_grad_()
    loss, _ = trainer.objectives[0].loss(prompt, malicious, indices, answered)
    fast = torch.autograd.grad(loss, prompt)[0]

    reference = reference_of(trainer)
    slow_prompt = trainer.prompt.clone().requires_grad_()
    slow = torch.stack(
        [reference.loss(slow_prompt, s, answered) for s in samples_of(trainer, malicious, indices)]
    ).mean()
    assert loss.item() == pytest.approx(slow.item(), rel=1e-5)
    slow_gradient = torch.autograd.grad(slow, slow_prompt)[0]
    assert (fast - slow_gradient).norm() <= 1e-4 * slow_gradient.norm()


@contextmanager
def memory_for(model: VisionLanguageModel, share: float) -> Iterator[None]:
    """A model whose last block fits only where at least this share of its blocks is computed again."""

    def refuse(*_: object) -> None:
        again = sum("forward" in vars(block) and hasattr(block.forward, "func") for block in model.layers)
        if again < share * model.n_layers:
            raise torch.OutOfMemoryError("CUDA out of memory")

    hook = model.layers[-1].register_forward_pre_hook(refuse)
    try:
        yield
    finally:
        hook.remove()


def test_a_step_that_does_not_fit_recomputes_as_many_blocks_as_it_must_to_the_same_result(
    model: VisionLanguageModel, vector: HarmfulnessVector, queries: Sets, capsys: pytest.CaptureFixture[str]
) -> None:
    plain, pressed = (make_trainer(model, vector, queries) for _ in range(2))
    expected = [plain.step(number) for number in range(2)]
    with memory_for(model, 0.5):
        found = [pressed.step(number) for number in range(2)]
    for before, after in zip(expected, found, strict=True):
        assert after == pytest.approx(before, rel=1e-5)
    torch.testing.assert_close(pressed.prompt, plain.prompt, rtol=1e-4, atol=1e-5)
    assert pressed.objectives[0].recomputed == 0.5
    told = capsys.readouterr().err.splitlines()
    assert [line.partition(": ")[2][:4] for line in told] == ["25 %", "50 %"], "once each, at the first step"
    assert pressed.identity() == make_trainer(model, vector, queries, recompute="always").identity()


@pytest.mark.parametrize(("recompute", "advice"), [("never", ", or set recompute=auto"), ("auto", "")])
def test_a_step_that_cannot_fit_says_what_to_lower(
    model: VisionLanguageModel, vector: HarmfulnessVector, queries: Sets, recompute: str, advice: str
) -> None:
    trainer = make_trainer(model, vector, queries, recompute=recompute)
    with memory_for(model, 2.0), pytest.raises(ModelError, match=f"3 queries at once .*lower micro_batch{advice}.$"):
        trainer.step(0)
    assert not any("forward" in vars(block) for block in model.layers)


def test_a_compiler_that_fails_is_told_of_in_words(
    model: VisionLanguageModel, vector: HarmfulnessVector, queries: Sets, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(graph: object, inputs: object) -> None:
        raise RuntimeError("no working C++ compiler found")

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=fail))
    trainer = make_trainer(model, vector, queries, compile=True)
    with pytest.raises(ModelError, match=r"cannot be compiled .*no working C\+\+ compiler.*: set compile=false"):
        trainer.step(0)
    assert not any("forward" in vars(block) for block in model.layers)


def test_steps_in_the_papers_mode_agree_with_the_reference(
    model: VisionLanguageModel, vector: HarmfulnessVector, queries: Sets
) -> None:
    trainer = make_trainer(model, vector, queries, **PAPER | {"steps": 4}, refusal_share=0.5)
    reference, slow = reference_of(trainer), trainer.prompt.clone()
    drawn = [0, 0]
    seen = set()
    for step in range(4):
        trainer.step(step)
        rng = np.random.default_rng([0, 2, step])
        malicious = bool(rng.random() < 0.5)
        answered = not malicious or bool(rng.random() < 0.5)
        indices = trainer.order[malicious].take(drawn[malicious], 2)
        drawn[malicious] += 2
        seen.add(malicious)
        slow = reference.signed_step(slow, samples_of(trainer, malicious, indices), answered, 1 / 255)
        # A sign can flip only where the gradient is as good as zero.
        agreeing = (trainer.prompt - slow).abs() <= 1e-6
        assert agreeing.float().mean() > 0.999
        slow = trainer.prompt.clone()
    assert seen == {True, False}


def test_the_reference_answer_loss_is_the_models_own(model: VisionLanguageModel, queries: Sets) -> None:
    query = next(q for q in queries[0] if not q.malicious)
    prompt, answer = model.prompt_ids(query.question), model.answer_ids(query.answer or "")
    packed = model.pack(model.canvas_pixels([query]))["pixel_values"]
    labels = torch.tensor([[-100] * len(prompt) + answer])
    theirs = model.model(pixel_values=packed, input_ids=torch.tensor([prompt + answer]), labels=labels).loss
    assert answer_cross_entropy(model.model, packed[0], prompt, answer).item() == pytest.approx(theirs.item(), rel=1e-4)


@pytest.mark.parametrize("method", list(Method))
@pytest.mark.parametrize(
    ("mode", "low", "high"), [(Mode.BORDER, 0, 1), (Mode.FRAME, 0, 1), (Mode.ADDITIVE, -32 / 255, 32 / 255)]
)
def test_every_step_ends_in_valid_pixels(
    model: VisionLanguageModel,
    vector: HarmfulnessVector,
    queries: Sets,
    method: Method,
    mode: Mode,
    low: float,
    high: float,
) -> None:
    trainer = make_trainer(model, vector, queries, method=method, mode=mode, step_size=0.7, cosine_decay=False)
    before = trainer.prompt.clone()
    for step in range(2):
        trainer.step(step)
    assert low <= trainer.prompt.min() and trainer.prompt.max() <= high
    assert not torch.equal(before, trainer.prompt)


def test_training_lowers_the_loss(model: VisionLanguageModel, vector: HarmfulnessVector, queries: Sets) -> None:
    trainer = make_trainer(model, vector, queries, steps=12, step_size=0.05)

    def total() -> float:
        with torch.no_grad():
            return sum(
                trainer.objectives[0].loss(trainer.prompt, side, list(range(8)), not side)[0].item()
                for side in (True, False)
            )

    before = total()
    for step in range(12):
        trainer.step(step)
    assert total() < before


def test_adam_agrees_with_torchs() -> None:
    layout = BorderLayout(12, 12, border=4)
    ours = torch.full((3, 12, 12), 0.5)
    layout.project_(ours)
    theirs = ours.clone().requires_grad_()
    optimizer = PixelOptimizer(ours, layout, Method.ADAM, 0.01, cosine_decay=False, steps=5)
    adam = torch.optim.Adam([theirs], lr=0.01, betas=PixelOptimizer.BETAS, eps=PixelOptimizer.EPSILON)
    for i in range(5):
        gradient = torch.randn(3, 12, 12, generator=torch.manual_seed(i)) * layout.mask()
        optimizer.step(gradient)
        theirs.grad = gradient
        adam.step()
    assert torch.allclose(ours, theirs, atol=1e-6)


def test_a_shuffle_shows_every_item_once_a_pass_and_depends_on_its_position_alone() -> None:
    shuffle = Shuffle(7, seed=1, stream=0)
    assert sorted(shuffle.take(0, 7)) == list(range(7))
    assert shuffle.take(0, 20)[5:12] == shuffle.take(5, 7)
    assert shuffle.take(0, 7) != Shuffle(7, seed=2, stream=0).take(0, 7)


def test_resuming_gives_bit_identical_results(
    model: VisionLanguageModel, vector: HarmfulnessVector, queries: Sets, tmp_path: Path
) -> None:
    whole = make_trainer(model, vector, queries)
    expected = whole.run(tmp_path / "whole", quiet=True)

    cut = make_trainer(model, vector, queries)

    def kill(record: dict[str, object]) -> None:
        if record["step"] == 3:
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        cut.run(tmp_path / "cut", quiet=True, report=kill)
    again = make_trainer(model, vector, queries)
    assert resume(again, tmp_path / "cut") == 2
    found = again.run(tmp_path / "cut", quiet=True)
    assert torch.equal(found.pixels, expected.pixels)
    assert torch.equal(again.prompt, whole.prompt)
    assert read_metrics(tmp_path / "cut") == read_metrics(tmp_path / "whole")


def test_ctrl_c_finishes_the_step_and_saves(
    model: VisionLanguageModel, vector: HarmfulnessVector, queries: Sets, tmp_path: Path
) -> None:
    trainer = make_trainer(model, vector, queries, validate_every=4)

    def press(record: dict[str, object]) -> None:
        if record["step"] == 1:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted) as stop:
        trainer.run(tmp_path, quiet=True, report=press)
    assert resume(make_trainer(model, vector, queries, validate_every=4), tmp_path) == stop.value.step < 4
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_training_works_outside_the_main_thread(
    model: VisionLanguageModel, vector: HarmfulnessVector, queries: Sets, tmp_path: Path
) -> None:
    trainer = make_trainer(model, vector, queries, steps=1)
    thread = threading.Thread(target=trainer.run, args=(tmp_path,), kwargs={"quiet": True})
    thread.start()
    thread.join()
    assert [record["step"] for record in read_metrics(tmp_path)] == [0, 1, 1]


def test_tensorboard_shows_every_step_and_validation(
    model: VisionLanguageModel, vector: HarmfulnessVector, queries: Sets, tmp_path: Path
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    config = TrainConfig(steps=2, validate_every=2, validation_answers=1, batch_size=4)
    train_prompt([(model, vector)], config, *queries, tmp_path, tensorboard=True, quiet=True)
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    logged = {r["step"]: r["malicious_alignment_loss"] for r in read_metrics(tmp_path) if "validation" not in r}
    shown = {e.step: e.value for e in events.Scalars("training/malicious_alignment_loss")}
    assert shown == pytest.approx(logged)
    assert [e.step for e in events.Scalars("validation/refused")] == [0, 2]


@pytest.mark.slow
def test_a_process_killed_in_the_middle_goes_on_to_the_same_prompt(tmp_path: Path) -> None:
    def command(out: str) -> list[str]:
        options = ["steps=6", "validate_every=2", "validation_answers=2", "batch_size=4"]
        sets = [part for option in options for part in ("--set", option)]
        return [
            sys.executable,
            "-m",
            "davsp",
            "train",
            *few,
            "--vector",
            str(tmp_path / "v"),
            "--out",
            str(tmp_path / out),
            *sets,
        ]

    few = ("--per-group", "8")
    subprocess.run(
        [sys.executable, "-m", "davsp", "vector", "--out", str(tmp_path / "v"), "--layer", "4", *few],
        check=True,
        capture_output=True,
    )
    subprocess.run(command("whole"), check=True, capture_output=True)
    process = subprocess.Popen(command("cut"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    metrics = tmp_path / "cut" / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not (metrics.exists() and '"step": 3' in metrics.read_text()):
        time.sleep(0.02)
    process.kill()
    process.wait()
    assert not (tmp_path / "cut" / "config.json").exists(), "the run was over before it was killed"
    subprocess.run(command("cut"), check=True, capture_output=True)
    assert (tmp_path / "cut" / "model.safetensors").read_bytes() == (
        tmp_path / "whole" / "model.safetensors"
    ).read_bytes()


def test_micro_batches_of_any_size_make_the_same_step(
    model: VisionLanguageModel, vector: HarmfulnessVector, queries: Sets
) -> None:
    steps: list[tuple[torch.Tensor, dict[str, float]]] = []
    for micro_batch in (3, 2, 1):  # of three queries a side: whole, in unequal parts, one by one
        trainer = make_trainer(model, vector, queries, batch_size=6, micro_batch=micro_batch)
        gradients: list[torch.Tensor] = []
        trainer.optimizer.step = gradients.append  # type: ignore[method-assign, assignment]
        record = trainer.step(0)
        steps.append((gradients[0], record))
    (whole, expected), *others = steps
    for gradient, record in others:
        assert (gradient - whole).norm() <= 1e-4 * whole.norm()
        assert record == pytest.approx(expected, rel=1e-4)


def test_what_is_shown_beside_the_bar_is_the_loss_the_projections_and_the_last_validation(
    model: VisionLanguageModel, vector: HarmfulnessVector, queries: Sets
) -> None:
    trainer = make_trainer(model, vector, queries, alignment_weight=2.0, answer_weight=0.5)
    step = {"step": 7, "benign_answer_loss": 0.4, "benign_alignment_loss": 0.1, "benign_projection": -3.25}
    assert trainer.progress(step, None) == "loss 0.4; benign -3.2"
    validation = {"step": 5, "validation": {"refused": 0.875, "kept": 1.0, "quality": 1.875}}
    both = {**step, "malicious_alignment_loss": 1.0, "malicious_projection": 8.0}
    assert trainer.progress(both, validation) == (
        "loss 2.4; malicious 8.0, benign -3.2; step 5: refused 88 %, kept 100 %"
    )


def test_a_prompt_for_two_models_descends_the_sum_of_their_losses(
    model: VisionLanguageModel, vector: HarmfulnessVector, queries: Sets
) -> None:
    options = {"method": "sign", "step_size": 0.01, "steps": 2}
    alone = make_trainer(model, vector, queries, **options)
    twice = Trainer([*alone.objectives] * 2)
    one, two = alone.step(0), twice.step(0)
    assert torch.equal(alone.prompt, twice.prompt), "two equal models ask for the same step as one"
    assert two["malicious_projection_1"] == two["malicious_projection_2"] == one["malicious_projection"]
    assert twice.validation_record()["quality"] == alone.validation_record()["quality"]

    first = make_trainer(model, vector, queries, refusal_share=0, batch_size=4).objectives[0]
    second = replace(first, direction=-first.direction)
    both = Trainer([first, second])
    both.order = [FixedOrder(), FixedOrder()]  # type: ignore[list-item]
    prompt = both.prompt.clone().requires_grad_()
    gradients: list[torch.Tensor] = []
    both.optimizer.step = gradients.append  # type: ignore[method-assign, assignment]
    both.step(0)
    losses = [o.loss(prompt, side, [0, 1], not side)[0] for o in both.objectives for side in (False, True)]
    expected = torch.autograd.grad(torch.stack(losses).sum(), prompt)[0]
    torch.testing.assert_close(gradients[0], expected, rtol=1e-3, atol=1e-6)


class FixedOrder:
    def take(self, start: int, count: int) -> list[int]:
        return list(range(start, start + count))


def test_a_prompt_for_two_models_fits_both_and_no_third(
    model: VisionLanguageModel, vector: HarmfulnessVector, queries: Sets, tmp_path: Path
) -> None:
    config = TrainConfig(steps=1, validate_every=1, validation_answers=1, batch_size=4)
    prompt = train_prompt([(model, vector), (model, vector)], config, *queries, tmp_path / "both", quiet=True)
    other = BaseModelFacts.of(model).model_copy(update={"fingerprint": "another", "weights": "another"})
    third = VisualSafetyPrompt.load(tmp_path / "both")
    assert third.further_models == prompt.further_models == (BaseModelFacts.of(model),)
    assert "| and model | testbed, of family llava |" in (tmp_path / "both" / "README.md").read_text()
    assert not replace(third, base_model=other).misfits(model), "it is the second of the two"
    assert replace(third, base_model=other, further_models=(other,)).misfits(model)


def test_models_that_see_a_prompt_differently_cannot_share_it(
    model: VisionLanguageModel, vector: HarmfulnessVector, queries: Sets
) -> None:
    first = make_trainer(model, vector, queries).objectives[0]
    wider = plan(model, vector, TrainConfig(width=28))
    with pytest.raises(InputError, match="cannot share a prompt"):
        Trainer([first, replace(first, plan=wider)])


def test_a_state_that_davsp_0_1_0_saved_is_resumed(
    model: VisionLanguageModel, vector: HarmfulnessVector, queries: Sets, tmp_path: Path
) -> None:
    def press(record: dict[str, object]) -> None:
        if record["step"] == 3:
            os.kill(os.getpid(), signal.SIGINT)

    whole = make_trainer(model, vector, queries).run(tmp_path / "whole", quiet=True)
    with pytest.raises(Interrupted):
        make_trainer(model, vector, queries).run(tmp_path / "cut", quiet=True, report=press)
    state = torch.load(tmp_path / "cut" / "state.pt", weights_only=True)
    [config] = state["identity"]["config"]
    config["falling"] = config.pop("cosine_decay")
    torch.save({"step": state["step"], "identity": state["identity"], **state["state"]}, tmp_path / "cut" / "state.pt")
    assert torch.equal(make_trainer(model, vector, queries).run(tmp_path / "cut", quiet=True).pixels, whole.pixels)


def test_another_run_in_the_same_folder_is_refused(
    model: VisionLanguageModel, vector: HarmfulnessVector, queries: Sets, tmp_path: Path
) -> None:
    make_trainer(model, vector, queries, steps=1).run(tmp_path, quiet=True)
    with pytest.raises(ArtefactError, match="different: config"):
        resume(make_trainer(model, vector, queries, steps=2), tmp_path)
    elsewhere = replace(vector, directions=-vector.directions)
    with pytest.raises(ArtefactError, match="different: aim"):
        resume(make_trainer(model, elsewhere, queries, steps=1), tmp_path)


def test_a_damaged_state_is_a_clear_error(
    model: VisionLanguageModel, vector: HarmfulnessVector, queries: Sets, tmp_path: Path
) -> None:
    make_trainer(model, vector, queries, steps=1).run(tmp_path, quiet=True)
    state = tmp_path / "state.pt"
    state.write_bytes(state.read_bytes()[:500])
    with pytest.raises(ArtefactError, match="delete it to start"):
        resume(make_trainer(model, vector, queries, steps=1), tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        lambda s: [],
        lambda s: {"step": 1},
        lambda s: s | {"step": "one"},
        lambda s: s | {"identity": 3},
        lambda s: s | {"state": {}},
        lambda s: s | {"state": 3},
        lambda s: s | {"state": s["state"] | {"prompt": torch.zeros(3, 2, 2)}},
        lambda s: s | {"state": s["state"] | {"drawn": None}},
        lambda s: s | {"state": s["state"] | {"optimizer": {}}},
    ],
)
def test_a_state_that_lacks_something_is_a_clear_error(
    change: Callable[[dict[str, Any]], object],
    model: VisionLanguageModel,
    vector: HarmfulnessVector,
    queries: Sets,
    tmp_path: Path,
) -> None:
    trainer = make_trainer(model, vector, queries, steps=1)
    saved = {"step": 1, "identity": trainer.identity(), "state": trainer.state()}
    torch.save(change(saved), tmp_path / "state.pt")
    with pytest.raises(ArtefactError, match=r"state\.pt is damaged: delete it to start"):
        resume(trainer, tmp_path)


@pytest.mark.parametrize("line", ["[" * 100_000, "9" * 5000, "[]", '{"loss": 1}', '{"step": "one"}', "\xff"])
def test_metrics_that_are_none_are_a_clear_error(line: str, tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_bytes(f"{line}\n".encode("latin1"))
    with pytest.raises(ArtefactError, match=r"metrics\.jsonl is damaged"):
        read_metrics(tmp_path)


def test_the_best_validated_prompt_is_kept_and_the_later_of_equals_and_never_the_start(
    model: VisionLanguageModel,
    vector: HarmfulnessVector,
    queries: Sets,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trainer = make_trainer(model, vector, queries, steps=5, validate_every=1)
    qualities, validated = [2.0, 0.5, 1.5, 1.0, 1.5, 0.5], list[torch.Tensor]()

    def validation_record() -> dict[str, float]:
        validated.append(trainer.prompt.clone())
        return {"quality": qualities[len(validated) - 1]}

    monkeypatch.setattr(trainer, "validation_record", validation_record)
    trained = trainer.run(tmp_path, quiet=True)
    assert trainer.best_record == {"step": 4.0, "quality": 1.5}
    assert torch.equal(trained.pixels, validated[4])
    assert not torch.equal(validated[4], validated[5])


def test_thresholds_default_to_measurements_and_can_be_set(
    model: VisionLanguageModel, vector: HarmfulnessVector
) -> None:
    assert plan(model, vector, TrainConfig(tau_plus=9.0, tau_minus=-9.0)).tau_plus == 9.0
    means = vector.at()
    measured = plan(model, vector, TrainConfig(margin=0.0))
    assert (measured.tau_minus, measured.tau_plus) == (means.benign_mean, means.malicious_mean)
    wider = plan(model, vector, TrainConfig(margin=0.5))
    assert wider.tau_plus - wider.tau_minus == pytest.approx(2 * (means.malicious_mean - means.benign_mean))
    assert wider.tau_plus + wider.tau_minus == pytest.approx(means.malicious_mean + means.benign_mean)
    with pytest.raises(InputError, match="tau_minus 3 lies above tau_plus 1"):
        plan(model, vector, TrainConfig(tau_plus=1.0, tau_minus=3.0))


def test_a_vector_of_another_model_is_refused(model: VisionLanguageModel, vector: HarmfulnessVector) -> None:
    other = HarmfulnessVector(vector.directions[:2], 1, vector.statistics[:2], {})
    with pytest.raises(ArtefactError, match="2 layers"):
        plan(model, other, TrainConfig())


def test_a_benign_query_without_an_answer_is_refused(
    model: VisionLanguageModel, vector: HarmfulnessVector, queries: Sets
) -> None:
    from dataclasses import replace

    unanswered = [replace(q, answer=None) for q in queries[0]]
    with pytest.raises(InputError, match="has no answer"):
        make_trainer(model, vector, (unanswered, queries[1]))


def test_assignments_go_before_options() -> None:
    config = read_config({"steps": 7, "width": 14}, ["steps=9", "sampling=coin"])
    assert (config.steps, config.width, config.sampling) == (9, 14, Sampling.COIN)


@pytest.mark.parametrize(
    ("assignment", "named"), [("stepz=3", "stepz"), ("steps=-1", "steps"), ("steps", "name=value")]
)
def test_a_bad_option_is_named(assignment: str, named: str) -> None:
    with pytest.raises(InputError, match=named):
        read_config({}, [assignment])


def test_metrics_cut_short_by_a_kill_are_read(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text(json.dumps({"step": 1}) + "\n" + '{"step": 2, "lo')
    assert read_metrics(tmp_path) == [{"step": 1}]
