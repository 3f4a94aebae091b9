from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from threading import Barrier, get_ident

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from davsp.data.query import REQUEST, Query
from davsp.errors import InputError
from davsp.models.base import VisionLanguageModel
from davsp.training.choices import Direction, FitOn
from davsp.training.config import TrainConfig
from davsp.training.directions import fit_directions
from davsp.training.objective import plan
from davsp.training.separation import LayerStatistics, layer_statistics
from davsp.training.twins import text_twins
from davsp.training.vector import HarmfulnessVector, extract_vector

GREY = Image.new("RGB", (40, 40), "grey")
HARM, KIND, NOISE = 0, 1, 2
"""What each dimension of the made-up states is about."""


def query(number: int, kind: str, malicious: bool) -> Query:
    return Query(f"{kind}-{number}-{malicious}", GREY, "look", None, malicious, kind)


def unbalanced(n: int = 400) -> tuple[list[Query], Tensor]:
    """States of two kinds of query, most of one malicious, most of the other benign: their difference of means is that
    of the kinds. Harm shows in one dimension, with noise that another, correlated one could take away."""
    rng = np.random.default_rng(0)
    queries = [query(i, "list" if i % 2 else "photo", bool(rng.random() < (0.8 if i % 2 else 0.2))) for i in range(n)]
    harm = np.array([q.malicious for q in queries], float)
    kind = np.array([q.group == "list" for q in queries], float)
    noise = rng.normal(size=n)
    states = np.stack([harm + 2 * noise + 0.2 * rng.normal(size=n), 5 * kind + 0.2 * rng.normal(size=n), noise], 1)
    return queries, torch.from_numpy(states).float()[:, None]


def fitted(method: Direction, queries: list[Query], states: Tensor) -> Tensor:
    halves = [(queries[:150], states[:150]), (queries[150:], states[150:])]
    return fit_directions(method, halves)[0]


def test_the_mean_difference_follows_the_kind_of_query_and_the_matched_one_does_not() -> None:
    queries, states = unbalanced()
    mean, matched = (fitted(method, queries, states) for method in (Direction.MEAN, Direction.MATCHED))
    assert abs(mean[KIND]) > 0.8 and abs(matched[KIND]) < 0.15 and matched[HARM] > 0.9


@dataclass
class OfTwo:
    """One of two processes, in a thread."""

    rank: int
    shares: list[Sequence[object]]
    meeting: Barrier
    count = 2

    def all_gather(self, own: Sequence[object]) -> list[object]:
        self.shares[self.rank] = own
        self.meeting.wait(10)
        shares = list(self.shares)
        self.meeting.wait(10)
        return [shares[i % 2][i // 2] for i in range(sum(map(len, shares)))]


@pytest.mark.parametrize("method", list(Direction))
@pytest.mark.parametrize("first", [200, 400])
def test_processes_that_saw_other_kinds_of_query_or_none_make_the_same_directions(
    method: Direction, first: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    queries, states = unbalanced()
    order = sorted(range(400), key=lambda i: (queries[i].malicious, queries[i].group))
    queries, states = [queries[i] for i in order], states[order]
    alone = fit_directions(method, [(queries, states)])
    shares: list[Sequence[object]] = [[], []]
    meeting = Barrier(2)
    mine: dict[int, OfTwo] = {}
    monkeypatch.setattr("davsp.training.directions.processes", lambda: mine[get_ident()])

    def of_process(rank: int) -> Tensor:
        mine[get_ident()] = OfTwo(rank, shares, meeting)
        rows = slice(0, first) if rank == 0 else slice(first, None)
        return fit_directions(method, [(queries[rows], states[rows])] if queries[rows] else [])

    with ThreadPoolExecutor(2) as threads:
        for found in threads.map(of_process, (0, 1)):
            assert torch.allclose(found, alone, atol=1e-4)


def test_the_discriminant_takes_correlated_noise_away() -> None:
    queries, states = unbalanced()
    lda = fitted(Direction.LDA, queries, states)
    assert lda.norm() == pytest.approx(1)
    assert lda[NOISE] / lda[HARM] == pytest.approx(-2, abs=0.3)
    malicious = np.array([q.malicious for q in queries])
    kinds = np.array([q.group for q in queries])
    found = {
        method: layer_statistics(
            (states[:, 0] @ fitted(method, queries, states)).numpy()[:, None], malicious, kinds, np.zeros((0, 1)), True
        )[0]
        for method in Direction
    }
    assert found[Direction.LDA].auroc > 0.99 > 0.9 > found[Direction.MATCHED].auroc
    assert found[Direction.LOGISTIC].auroc > 0.99
    assert found[Direction.LDA].separation > 3 * found[Direction.MATCHED].separation


@pytest.mark.parametrize(("n", "least"), [(60, 0.965), (4000, 0.998)])
def test_logistic_regression_is_penalised_as_much_as_few_queries_need_and_no_more(n: int, least: float) -> None:
    """Harm shows in many dimensions of unlike noise. The strongest penalty alone ends below what is asked of many
    queries, and the weakest below what is asked of few."""
    rng = np.random.default_rng(n)
    size, strength = 40, 0.35
    malicious = np.arange(n) % 2 == 1
    noise = rng.normal(size=(n, size)) * np.linspace(0.2, 3, size)
    states = torch.from_numpy(noise + strength * malicious[:, None]).float()[:, None]
    queries = [query(i, "list", bool(side)) for i, side in enumerate(malicious)]
    best = strength / np.linspace(0.2, 3, size) ** 2
    [found] = fit_directions(Direction.LOGISTIC, [(queries, states)])
    cosine = float(found.numpy() @ best / np.linalg.norm(best))
    assert cosine > least


def test_one_threshold_serves_all_kinds_where_a_direction_is_whitened_or_learned() -> None:
    """Harm and kind show in the same dimension, and yet most malicious queries are above nearly all benign ones."""
    queries, states = unbalanced()
    states[:, :, HARM] += states[:, :, KIND]
    malicious = np.array([q.malicious for q in queries])
    caught = {}
    for method in Direction:
        projections = (states[:, 0] @ fitted(method, queries, states)).numpy()
        caught[method] = (projections[malicious] > np.quantile(projections[~malicious], 0.95)).mean()
    assert min(caught[Direction.LDA], caught[Direction.LOGISTIC]) > 0.8 > 0.6 > caught[Direction.MATCHED]


def test_the_discriminant_is_nearly_that_of_scikit_learn_where_there_is_one_kind() -> None:
    """Which shrinks the covariance of each side by itself."""
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    queries, states = unbalanced(120)
    queries = [replace(q, group="one") for q in queries]
    malicious = [q.malicious for q in queries]
    theirs = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto").fit(states[:, 0].numpy(), malicious).coef_[0]
    ours = fitted(Direction.LDA, queries, states).numpy()
    assert float(ours @ theirs / np.linalg.norm(theirs)) > 0.98


def test_where_no_kind_has_both_sides_all_are_compared() -> None:
    queries, states = unbalanced(200)
    apart = [replace(q, group=str(q.malicious)) for q in queries]
    torch.testing.assert_close(fitted(Direction.MATCHED, apart, states), fitted(Direction.MEAN, queries, states))


def test_separation_within_kinds_is_no_kinds_difference() -> None:
    """All malicious queries are of a kind that projects high, and within it nothing tells the sides apart."""
    malicious = np.array([True, True, False, False, False, False])
    kinds = np.array(["list", "list", "list", "list", "photo", "photo"])
    column = np.array([[5.0], [6.0], [5.0], [6.0], [0.0], [1.0]])
    none = np.zeros((0, 1))
    within, overall = (layer_statistics(column, malicious, kinds, none, how)[0] for how in (True, False))
    assert (within.separation, within.auroc) == (0, 0.5) and overall.separation > 0.9
    assert within.benign_means == {"list": 5.5, "photo": 0.5}
    assert within.deviation == pytest.approx(0.5**0.5) and within.text_mean is None


def test_twins_ask_each_request_once_and_as_text() -> None:
    shown = replace(query(0, "list", True), metadata={REQUEST: "do harm"})
    again, harmless = replace(shown, id="again"), replace(shown, id="h", malicious=False)
    twins = text_twins([shown, again, harmless, query(1, "list", True)])
    assert [(t.question, t.malicious) for t in twins] == [("do harm", True), ("do harm", False)]
    assert isinstance(twins[0].image, Image.Image) and twins[0].image.getextrema() == ((255, 255),) * 3


def known(queries: list[Query]) -> list[Query]:
    return [replace(q, metadata={REQUEST: q.question}) for q in queries]


def test_a_vector_of_texts_reads_no_image(model: VisionLanguageModel, queries: tuple[list[Query], list[Query]]) -> None:
    """Other images of the same requests change nothing of the directions."""
    first, checks = known(queries[0]), known(queries[1])
    other = [q.with_image(GREY) for q in first]
    made = [
        extract_vector(model, fitting, checks, prefix="", fit_on=FitOn.TEXTS, direction=Direction.LDA, batch_size=16)
        for fitting in (first, other)
    ]
    torch.testing.assert_close(made[0].directions, made[1].directions)
    assert made[0].origin["fit_on"] == "texts" and made[0].origin["direction"] == "lda"
    assert all(s.text_mean is not None for s in made[0].statistics)
    with pytest.raises(InputError, match="fit_on=texts"):
        extract_vector(model, queries[0], checks, prefix="", fit_on=FitOn.TEXTS)


def test_what_was_measured_of_texts_and_kinds_is_saved(
    model: VisionLanguageModel, queries: tuple[list[Query], list[Query]], tmp_path: str
) -> None:
    vector = extract_vector(model, known(queries[0]), known(queries[1]), prefix="", direction=Direction.MATCHED)
    vector.save(tmp_path)
    assert HarmfulnessVector.load(tmp_path).statistics == vector.statistics


def test_thresholds_at_the_texts_hold_each_kind_where_it_is(model: VisionLanguageModel) -> None:
    directions = torch.nn.functional.normalize(torch.randn(model.n_layers, model.hidden_size), dim=-1)
    at = LayerStatistics(1, 1.0, 1.0, 0.0, 1.0, 0.9, 1.0, 0.1, 2.0, 7.0, {"list": 0.5, "photo": -3.0})
    vector = HarmfulnessVector(directions, 1, (at,) * model.n_layers, {})
    means = plan(model, vector, TrainConfig())
    assert (means.tau_plus, means.tau_minus, means.kinds, means.scale) == (1, 0, {}, 1)
    texts = plan(model, vector, TrainConfig.model_validate({"anchor": "texts", "in_deviations": True}))
    assert (texts.tau_plus, texts.tau_minus, texts.scale) == (7, 0, 2)
    assert texts.kinds == {"list": 0.5, "photo": -3.0}
    unknown = HarmfulnessVector(directions, 1, (replace(at, text_mean=None),) * model.n_layers, {})
    with pytest.raises(InputError, match="anchor=texts"):
        plan(model, unknown, TrainConfig.model_validate({"anchor": "texts"}))
