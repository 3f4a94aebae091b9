"""The divergence of benign answers from the undefended model's is the formula's, and made once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from davsp.data.query import Query
from davsp.errors import ArtefactError
from davsp.models.base import VisionLanguageModel
from davsp.training.batches import Target, target_ids
from davsp.training.config import Benign, TrainConfig
from davsp.training.constraint import Multiplier
from davsp.training.jobs import make_objectives
from davsp.training.losses import divergence_loss
from davsp.training.objective import Objective
from davsp.training.own_answers import own_targets
from davsp.training.undefended import Distributions, undefended_distributions
from davsp.training.vector import HarmfulnessVector
from tests.reference.divergence import answer_divergence

Sets = tuple[list[Query], list[Query]]
ROWS = torch.tensor([0, 0, 0, 1, 1])
VOCABULARY = 9


@pytest.fixture
def p_and_q() -> tuple[Tensor, Tensor]:
    generator = torch.manual_seed(3)
    p, q = (2 * torch.randn(len(ROWS), VOCABULARY, generator=generator, dtype=torch.float64) for _ in range(2))
    return p, q


def likeliest(p: Tensor, top: int) -> tuple[Tensor, Tensor]:
    found = p.log_softmax(-1).topk(top, dim=-1)
    return found.indices, found.values


def of_rows(p: Tensor, q: Tensor, top: int | None) -> Tensor:
    return torch.stack([answer_divergence(p[row == ROWS], q[row == ROWS], top) for row in (0, 1)])


@pytest.mark.parametrize("top", [1, 3, VOCABULARY - 1])
def test_the_divergence_agrees_with_the_reference(p_and_q: tuple[Tensor, Tensor], top: int) -> None:
    p, q = p_and_q
    found = divergence_loss(q, *likeliest(p, top), ROWS, 2)
    torch.testing.assert_close(found, of_rows(p, q, top))
    assert bool((found <= of_rows(p, q, None) + 1e-12).all())


def test_all_tokens_but_one_told_apart_is_the_whole_divergence(p_and_q: tuple[Tensor, Tensor]) -> None:
    p, q = p_and_q
    torch.testing.assert_close(divergence_loss(q, *likeliest(p, VOCABULARY - 1), ROWS, 2), of_rows(p, q, None))


def test_its_gradient_is_that_of_finite_differences(p_and_q: tuple[Tensor, Tensor]) -> None:
    p, q = p_and_q
    tokens, log_probabilities = likeliest(p, 3)
    assert torch.autograd.gradcheck(
        lambda logits: divergence_loss(logits, tokens, log_probabilities, ROWS, 2), q.requires_grad_()
    )


def test_a_model_does_not_diverge_from_itself(p_and_q: tuple[Tensor, Tensor]) -> None:
    p, _ = p_and_q
    assert divergence_loss(p, *likeliest(p, 4), ROWS, 2).abs().max() < 1e-12
    sure = torch.tensor([[50.0, 0.0, 0.0]])  # nothing is left for the rest
    assert divergence_loss(sure, *likeliest(sure, 2), torch.tensor([0]), 1).item() == pytest.approx(0, abs=1e-6)


def benign_of(queries: Sequence[Query]) -> list[Query]:
    return [replace(query, answer=None) for query in queries if not query.malicious][:5]


@pytest.fixture(scope="module")
def own(model: VisionLanguageModel, queries: Sets) -> dict[str, Target]:
    return own_targets(model, benign_of(queries[0]), 12, quiet=True)


def test_distributions_are_the_undefended_models_at_its_own_answers(
    model: VisionLanguageModel, queries: Sets, own: dict[str, Target], tmp_path: Path
) -> None:
    benign, file = benign_of(queries[0]), tmp_path / "undefended.safetensors"
    found = undefended_distributions(model, benign, own, 3, file, quiet=True)
    for query in reversed(benign):
        prompt, answer = model.prompt_ids(query.question), target_ids(model, own[query.id])
        inputs = {**model.pack(model.canvas_pixels([query])), "input_ids": torch.tensor([prompt + answer])}
        with torch.no_grad():
            logits = model.model(**inputs).logits[0, len(prompt) - 1 : -1]
        tokens, log_probabilities = found.of([query.id], model.device)
        assert tokens[:, 0].tolist() == answer, "a greedy answer is of first choices"
        torch.testing.assert_close(log_probabilities, logits.log_softmax(-1).gather(1, tokens), rtol=1e-4, atol=1e-4)


def test_they_are_made_once_and_mapped_from_their_file(
    model: VisionLanguageModel,
    queries: Sets,
    own: dict[str, Target],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    benign, file = benign_of(queries[0]), tmp_path / "undefended.safetensors"
    made = undefended_distributions(model, benign, own, 3, file, quiet=True)
    with monkeypatch.context() as patched:
        patched.setattr(model, "forward", None)
        again = undefended_distributions(model, benign, own, 3, file, quiet=True)
    assert not isinstance(again._tokens, Tensor)
    names = [benign[3].id, benign[0].id]
    for one, other in zip(made.of(names, model.device), again.of(names, model.device), strict=True):
        assert torch.equal(one, other)
    fewer = undefended_distributions(model, benign, own, 2, file, quiet=True)
    assert fewer.of(names, model.device)[0].shape[1] == 2
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(ArtefactError, match="damaged"):
        undefended_distributions(model, benign, own, 2, file, quiet=True)


def diverging(model: VisionLanguageModel, vector: HarmfulnessVector, queries: Sets) -> Objective:
    """Of a query of each group."""
    options = {"prefix": "be careful .", "benign": Benign.DIVERGENCE, "alignment_weight": 0.0, "divergence_top": 5}
    training, validation = queries[0][::4], queries[1][::2]
    config = TrainConfig.model_validate(options)
    return make_objectives([(model, vector)], config, training, validation, quiet=True)[0]


def test_a_batchs_loss_is_the_weighted_divergence_of_the_defended_model(
    model: VisionLanguageModel, vector: HarmfulnessVector, queries: Sets
) -> None:
    objective = diverging(model, vector, queries)
    side = objective.sides[False]
    chosen = [0, next(i for i, q in enumerate(side.queries) if q.group.startswith("twin/"))]
    objective.multipliers["benign"] = Multiplier(0.5, 1.0)
    objective.multipliers["harmless"] = Multiplier(None, 3.0)
    prompt = objective.plan.layout.start(torch.full((3,), 0.5))
    loss, figures = objective.loss(prompt, False, chosen, True)

    each = []
    for i in chosen:
        query, target = side.queries[i], objective.own[side.queries[i].id]
        answer = target_ids(model, target)
        plain = model.prompt_ids(query.question)
        seen = model.pack(model.canvas_pixels([query]))
        defended = model.pack(objective.plan.layout.compose(prompt, side.interiors[i].float()[None] / 255))
        p, q = (
            model.model(**inputs, input_ids=torch.tensor([ids + answer])).logits[0, len(ids) - 1 : -1]
            for inputs, ids in ((seen, plain), (defended, side.prompts[i].tolist()))
        )
        each.append(answer_divergence(p, q, 5).item())
    assert loss.item() == pytest.approx((2 * each[0] + 3 * each[1]) / 2, rel=1e-3, abs=1e-6)
    assert figures["benign_divergence"].item() == pytest.approx(each[0] / 2, rel=1e-3, abs=1e-6)
    assert figures["harmless_divergence"].item() == pytest.approx(each[1] / 2, rel=1e-3, abs=1e-6)


def test_reference_answers_are_not_read(model: VisionLanguageModel, vector: HarmfulnessVector, queries: Sets) -> None:
    bare = tuple([replace(q, answer=q.answer if q.malicious else "nonsense") for q in part] for part in queries)
    digests = [diverging(model, vector, part).data_digests() for part in (queries, (bare[0], bare[1]))]
    assert digests[0] == digests[1]


def test_queries_of_two_files_that_are_numbered_alike_keep_their_own_answers(
    model: VisionLanguageModel, vector: HarmfulnessVector, queries: Sets
) -> None:
    training, validation = ([replace(q, id=str(i)) for i, q in enumerate(part)] for part in queries)
    objective = diverging(model, vector, (training, validation))
    side = objective.validation_sides[False]
    assert isinstance(objective.undefended, Distributions)
    for i, query in enumerate(side.queries):
        assert objective.undefended.of([query.id], model.device)[0][:, 0].tolist() == side.answers[i].tolist()
