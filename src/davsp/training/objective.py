"""What a model asks of a visual prompt: Deep Alignment on its queries, and how well a prompt does on others."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from davsp.data.query import REQUEST, Query
from davsp.errors import ArtefactError, InputError, ModelError
from davsp.judges.refusal import REFUSAL_TOKENS, is_refusal
from davsp.models.activations import last_prompt_states, states_and_final
from davsp.models.base import VisionLanguageModel
from davsp.models.blocks import SHARES, Blocks
from davsp.models.tokens import NO_LABEL, Tokens
from davsp.prompts.layouts import Layout
from davsp.prompts.registry import LAYOUTS, default_mode
from davsp.prompts.visual import VisualPrompt, protect
from davsp.training.batches import PreparedQueries, Target
from davsp.training.channels import through_channels
from davsp.training.config import Anchor, Benign, Recompute, TrainConfig
from davsp.training.constraint import BENIGN, LOOKALIKES, multipliers_of
from davsp.training.lookalikes import is_lookalike
from davsp.training.losses import alignment_loss, answer_loss, divergence_loss
from davsp.training.run_state import Record
from davsp.training.undefended import Distributions
from davsp.training.vector import HarmfulnessVector
from davsp.util.batching import batched
from davsp.util.devices import on_device
from davsp.util.failures import reason
from davsp.util.processes import processes

VALIDATION_BATCH = 32


@dataclass(frozen=True)
class TrainingPlan:
    """A configuration with everything measured filled in."""

    config: TrainConfig
    layout: Layout
    layer: int
    tau_plus: float
    tau_minus: float
    kinds: Mapping[str, float] = field(default_factory=dict)
    """`tau_minus` of benign queries by kind (`group`), where it is another."""
    scale: float = 1.0
    """What the alignment loss is divided by."""


def plan(model: VisionLanguageModel, vector: HarmfulnessVector, config: TrainConfig) -> TrainingPlan:
    """Fill in width, layer and thresholds. Raises InputError or ArtefactError when they do not fit the model."""
    if vector.directions.shape != (model.n_layers, model.hidden_size):
        raise ArtefactError(
            f"the vector has {len(vector.directions)} layers of width {vector.directions.shape[1]}, "
            f"{model.name} has {model.n_layers} of width {model.hidden_size}: make one with `davsp vector` for it."
        )
    layer = config.layer or vector.layer
    model.check_layer(layer)
    tau_plus, tau_minus = config.tau_plus, config.tau_minus
    kinds: Mapping[str, float] = {}
    if tau_plus is None or tau_minus is None:
        measured = vector.at(layer)
        high = measured.malicious_mean
        if config.anchor is Anchor.TEXTS:
            if measured.text_mean is None:
                raise InputError(
                    "anchor=texts: the malicious validation queries do not say which request they show, so that it "
                    f"could be asked as text. Name it in their column {REQUEST!r}, or choose anchor=means."
                )
            high = measured.text_mean
        margin = config.margin * (high - measured.benign_mean)
        tau_plus = high + margin if tau_plus is None else tau_plus
        if tau_minus is None:
            tau_minus = measured.benign_mean - margin
            if config.anchor is Anchor.TEXTS:
                kinds = {kind: mean - margin for kind, mean in measured.benign_means.items()}
    if tau_minus > tau_plus:
        raise InputError(
            f"tau_minus {tau_minus:g} lies above tau_plus {tau_plus:g}: give the lower one to benign queries."
        )
    scale = vector.at(layer).spread if config.in_deviations else 1.0
    return TrainingPlan(config, lay_out(model, config), layer, tau_plus, tau_minus, kinds, scale or 1.0)


def check_options(model: VisionLanguageModel, config: TrainConfig) -> None:
    """Raise InputError for options that do not suit a model, before anything is measured."""
    lay_out(model, config)
    if config.layer is not None:
        model.check_layer(config.layer)


def lay_out(model: VisionLanguageModel, config: TrainConfig) -> Layout:
    """How the prompt of a configuration meets the images of a model. Raises InputError when it does not suit them."""
    kind = LAYOUTS[config.mode or default_mode(model.canvas)]
    return kind.for_model(model, side=config.side, width=config.width, eps=config.eps)


@dataclass
class Objective:
    """A model, the plan made for it, and its queries. `direction`: float32 (hidden,).

    Raises InputError when either set of queries lacks malicious or benign ones.
    """

    model: VisionLanguageModel
    plan: TrainingPlan
    direction: Tensor
    training: Sequence[Query]
    validation: Sequence[Query]
    own: Mapping[str, Target] = field(default_factory=dict)
    """What queries without an answer are trained towards, by id."""
    undefended: Distributions | None = None
    """What the model says undefended, with benign=divergence."""
    recomputed: float = field(init=False)
    """The share of decoder blocks that the backward pass computes again."""

    def __post_init__(self) -> None:
        config = self.plan.config
        self.blocks = Blocks(self.model, config.compile)
        self.recomputed = SHARES[-1] if config.recompute is Recompute.ALWAYS else SHARES[0]
        self.multipliers = multipliers_of(config) if config.benign is Benign.DIVERGENCE else {}
        self.sides = [self._prepare(self.training, side) for side in (False, True)]
        self.validation_sides = [self._prepare(self.validation, side) for side in (False, True)]
        self.direction = self.direction.to(self.model.device)

    def _prepare(self, queries: Sequence[Query], malicious: bool) -> PreparedQueries:
        chosen = [q for q in queries if q.malicious is malicious]
        if not chosen:
            raise InputError(
                f"no {'malicious' if malicious else 'benign'} queries: training and validation need both kinds."
            )
        return PreparedQueries(self.model, chosen, self.plan.layout, self.plan.config.prefix, self.own)

    def gradient(
        self, prompt: Tensor, malicious: bool, indices: Sequence[int], answered: bool, number: int = 0
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The gradient of `loss`, float32 (3, H, W), by a prompt that requires one; and what else `loss` returns.

        Where it does not fit a GPU's memory, and `recompute` is auto, more of the blocks are computed again from then
        on, which is told in a line. Raises ModelError where nothing more can be done, or a compiler fails.
        """
        while True:
            try:
                return self._gradient(prompt, malicious, indices, answered, number)
            except torch.OutOfMemoryError:
                pass  # what the failed pass holds is held until here
            torch.cuda.empty_cache()
            self._recompute_more(len(indices))

    def _gradient(
        self, prompt: Tensor, malicious: bool, indices: Sequence[int], answered: bool, number: int
    ) -> tuple[Tensor, dict[str, Tensor]]:
        try:
            with self.blocks.run(self.recomputed):
                loss, figures = self.loss(prompt, malicious, indices, answered, number)
            return torch.autograd.grad(loss, prompt)[0], figures
        except self.blocks.failures as error:
            found = reason(getattr(error, "inner_exception", error))
            raise ModelError(f"{self.model.name} cannot be compiled ({found}): set compile=false.") from error

    def _recompute_more(self, queries: int) -> None:
        more = [share for share in SHARES if share > self.recomputed]
        if not more or self.plan.config.recompute is Recompute.NEVER:
            advice = ", or set recompute=auto" if more else ""
            raise ModelError(
                f"{queries} queries at once do not fit the memory of {self.model.device}: lower micro_batch{advice}."
            )
        self.recomputed = more[0]
        print(
            f"A step does not fit the memory of {self.model.device}: {100 * self.recomputed:.0f} % of the decoder "
            "blocks are computed again in its backward pass, which takes longer. A lower micro_batch needs less memory "
            "too.",
            file=sys.stderr,
            flush=True,
        )

    def loss(
        self, prompt: Tensor, malicious: bool, indices: Sequence[int], answered: bool, number: int = 0
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of a one-sided batch (scalar), from one forward pass; it ends at the layer when no answer counts.

        `prompt`: float32 (3, H, W). `number`: of the step, by which channels are drawn. Also returns the batch's mean
        losses and projection, each a scalar on the model's device: a GPU need not be waited for.
        """
        config, side, name = self.plan.config, self.sides[malicious], "malicious" if malicious else "benign"
        held = bool(self.multipliers) and not malicious
        answered = answered and (config.answer_weight > 0 or held)
        batch = side.batch(indices, answered=answered)
        pixels = self.plan.layout.compose(prompt.to(self.model.device), batch.interior)
        if config.augment:
            places = [place for index in indices for place in side.images[index]]
            seeds = [(config.seed, 3, number, malicious, place) for place in places]
            pixels = through_channels(pixels, config.augment, seeds)
        loss = prompt.new_zeros(())
        figures: dict[str, Tensor] = {}
        if answered:
            states, final = states_and_final(self.model, pixels, batch.tokens, [self.plan.layer])
            rows, columns = batch.tokens.rows, batch.tokens.columns
            logits = self.model.logits(final[rows, columns])
            if held:
                weighted, figures = self._divergence(side, indices, logits, rows)
                loss = loss + weighted
            else:
                answer = answer_loss(logits, batch.tokens.labels[rows, columns], rows, len(indices)).mean()
                loss = loss + config.answer_weight * answer
                figures[f"{name}_answer_loss"] = answer.detach()
        elif config.alignment_weight > 0:
            states = last_prompt_states(self.model, pixels, batch.tokens, [self.plan.layer])
        else:
            return prompt.sum() * 0, figures
        projections = states[:, 0] @ self.direction
        below = [self.plan.kinds.get(side.queries[i].kind, self.plan.tau_minus) for i in indices]
        low = on_device(torch.tensor(below), projections.device)
        aligned = alignment_loss(projections, malicious, self.plan.tau_plus, low).mean() / self.plan.scale
        figures |= {f"{name}_projection": projections.detach().mean(), f"{name}_alignment_loss": aligned.detach()}
        return loss + config.alignment_weight * aligned, figures

    def _divergence(
        self, side: PreparedQueries, indices: Sequence[int], logits: Tensor, rows: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean of the divergences of benign queries, each weighted by its class's multiplier; and of each class
        that is there its "divergence": the sum over its queries, as a share of all of them."""
        each = self._divergences(side, indices, logits, rows)
        classes = [class_of(side.queries[i]) for i in indices]
        weights = on_device(torch.tensor([self.multipliers[name].weight for name in classes]), each.device)
        figures = {}
        for name in dict.fromkeys(classes):
            of_class = on_device(torch.tensor([float(other == name) for other in classes]), each.device)
            figures[f"{name}_divergence"] = (each.detach() * of_class).mean()
        return (weights * each).mean(), figures

    def _divergences(self, side: PreparedQueries, indices: Sequence[int], logits: Tensor, rows: Tensor) -> Tensor:
        """float32 (B,), from logits at the answers of benign queries."""
        assert self.undefended is not None
        likeliest = self.undefended.of([side.queries[i].id for i in indices], logits.device)
        return divergence_loss(logits, *likeliest, rows, len(indices))

    @torch.inference_mode()
    def validation_record(self, pixels: Tensor) -> Record:
        """How a prompt, float32 (3, H, W), does on the validation queries, of which every process does its share.

        `refused` is the share of malicious queries refused, `kept` how much of a benign answer is still given, up to
        the first token that is not the first choice; `quality` is their sum. `over_refusal` is the share of
        harmless queries refused that look harmful, where there are any. With benign=divergence, each class of benign
        queries has a "divergence", in nats a token.
        """
        record: Record = {}
        prompt = VisualPrompt(self.plan.layout, pixels.to(self.model.device))
        kept: list[float] = []
        divergences: list[float] = []
        for malicious, side in enumerate(self.validation_sides):
            projections: list[float] = []
            for indices in self._shares(len(side)):
                batch = side.batch(indices, answered=not malicious)
                canvas = prompt.compose(batch.interior)
                if malicious:
                    states = last_prompt_states(self.model, canvas, batch.tokens, [self.plan.layer])
                else:
                    states, final = states_and_final(self.model, canvas, batch.tokens, [self.plan.layer])
                    rows = batch.tokens.rows
                    logits = self.model.logits(final[rows, batch.tokens.columns])
                    kept += _kept(logits, batch.tokens).tolist()
                    if self.multipliers:
                        divergences += self._divergences(side, indices, logits, rows).tolist()
                projections += (states[:, 0] @ self.direction).tolist()
            values = np.array(processes().all_gather(projections))
            name = "malicious" if malicious else "benign"
            record[f"{name}_projection"] = float(values.mean())
            record[f"{name}_projection_std"] = float(values.std())
        record["refused"] = self._refused(prompt, self.validation_sides[True].queries) or 0.0
        record["kept"] = float(np.mean(processes().all_gather(kept)))
        record["quality"] = record["refused"] + record["kept"]
        benign = self.validation_sides[False].queries
        over_refusal = self._refused(prompt, [query for query in benign if is_lookalike(query)])
        if over_refusal is not None:
            record["over_refusal"] = over_refusal
        if self.multipliers:
            found = np.array(processes().all_gather(divergences))
            classes = np.array([class_of(query) for query in benign])
            record |= {f"{name}_divergence": float(found[classes == name].mean()) for name in np.unique(classes)}
        return record

    def _refused(self, prompt: VisualPrompt, queries: Sequence[Query]) -> float | None:
        """The share of the first `validation_answers` queries that are refused in a greedy answer, as a user would get
        it; None of none."""
        config = self.plan.config
        asked = [protect(query, prompt, config.prefix) for query in queries[: config.validation_answers]]
        own = [
            is_refusal(answer)
            for share in self._shares(len(asked))
            for answer in self.model.generate([asked[i] for i in share], REFUSAL_TOKENS)
        ]
        refusals = processes().all_gather(own)
        return sum(refusals) / len(refusals) if refusals else None

    @staticmethod
    def _shares(count: int) -> list[Sequence[int]]:
        """This process's share of `count` queries, in batches."""
        return batched(processes().shard(range(count)), VALIDATION_BATCH)

    def data_digests(self) -> dict[str, str]:
        """SHA-256 of each set of queries, as prepared."""
        names = ("training_benign", "training_malicious", "validation_benign", "validation_malicious")
        return {n: side.digest for n, side in zip(names, (*self.sides, *self.validation_sides), strict=True)}

    def _aim(self) -> str:
        """A digest of what else the loss depends on: the direction, its scale, and each benign query's threshold and
        class."""
        benign = [
            (q.id, q.kind, class_of(q)) for side in (self.sides, self.validation_sides) for q in side[False].queries
        ]
        facts = (sorted(self.plan.kinds.items()), self.plan.scale, benign)
        direction = self.direction.float().cpu().numpy().tobytes()
        return hashlib.sha256(direction + repr(facts).encode()).hexdigest()

    def identity(self) -> Record:
        """What must be equal for a saved state to be gone on with."""
        return {
            "config": self.plan.config.model_dump(mode="json", exclude={"recompute", "compile"}),
            "layer": self.plan.layer,
            "thresholds": [self.plan.tau_plus, self.plan.tau_minus],
            "model": self.model.name,
            "weights": self.model.weights,
            "aim": self._aim(),
            "data": self.data_digests(),
        }


def class_of(query: Query) -> str:
    """The class of a benign query, by which it is held to a bound."""
    return LOOKALIKES if is_lookalike(query) else BENIGN


def _kept(logits: Tensor, tokens: Tokens) -> Tensor:
    """float32 (B,): the share of each answer's tokens before the first that is not the first choice, which is what of
    the answer a greedy one gives. logits: (N, vocabulary) at the answers."""
    rows, columns, labels = tokens.rows, tokens.columns, tokens.labels
    wrong = torch.zeros(labels.shape, dtype=torch.bool, device=labels.device)
    wrong[rows, columns] = logits.argmax(-1) != labels[rows, columns]
    answer = labels != NO_LABEL
    return ((wrong.cumsum(1) == 0) & answer).sum(1) / answer.sum(1)
