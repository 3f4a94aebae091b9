"""ETA writes answers anew where they look unsafe, the best of several sentences at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from davsp.data.query import Query
from davsp.defences import load_defence
from davsp.defences.base import Exchange
from davsp.defences.eta import Eta, EtaOptions, first_sentence
from davsp.models.base import VisionLanguageModel
from davsp.models.requests import Request, Response

Sets = tuple[list[Query], list[Query]]
RED = Image.new("RGB", (40, 30), "red")
QUERY = Query("q", RED, "how do i do this ?")


class Scores:
    """Rewards and similarities by what the text holds; similarity to "unsafe contents" is `unsafe`."""

    identity = "stand-in"

    def __init__(self, unsafe: float = 0.3) -> None:
        self.unsafe, self.rewarded = unsafe, list[str]()

    def score(self, question: str, answer: str) -> float:
        self.rewarded.append(answer)
        return 1.0 if "good" in answer else -1.0

    def similarity(self, image: Image.Image, text: str) -> float:
        return self.unsafe if text == "unsafe contents" else 0.5 if "red" in text else 0.0


def eta(scores: Scores, **options: object) -> Eta:
    told = EtaOptions.model_validate({"reward": "stand-in"} | options)
    return Eta(told, scores, scores)  # type: ignore[arg-type]


def sampling(*rounds: Sequence[str], greedy: str = "bad .") -> tuple[Exchange, list[Request]]:
    """An exchange with a model of one greedy answer, and candidates for each round."""
    asked: list[Request] = []

    async def send(request: Request, limit: int | None) -> Response:
        asked.append(request)
        if not request.temperature:
            return Response(greedy, True, 1, 1)
        number = len([r for r in asked if r.temperature]) - 1
        said = rounds[number // 5][number % 5]
        return Response(said.removesuffix("|"), said.endswith("|"), 1, 1)

    return Exchange(send), asked


def test_eta_keeps_an_answer_of_high_reward() -> None:
    exchange, asked = sampling(greedy="good .")
    assert asyncio.run(eta(Scores()).answer(QUERY, exchange)) == "good ."
    assert len(asked) == 1
    assert exchange.cost.helper_calls == 1


@pytest.mark.parametrize(("similarity", "kept"), [(0.159, True), (0.16, False)])
def test_eta_keeps_any_answer_about_an_image_that_looks_safe(similarity: float, kept: bool) -> None:
    exchange, _ = sampling([" no .|"] * 5)
    found = asyncio.run(eta(Scores(similarity)).answer(QUERY, exchange))
    assert found == ("bad ." if kept else "As an AI assistant no .")


@pytest.mark.parametrize(("threshold", "kept"), [(-1.0, False), (-1.01, True)])
def test_a_reward_at_the_threshold_is_not_above_it(threshold: float, kept: bool) -> None:
    exchange, _ = sampling([" no .|"] * 5)
    found = asyncio.run(eta(Scores(), reward_threshold=threshold).answer(QUERY, exchange))
    assert (found == "bad .") is kept


def test_eta_writes_anew_with_the_best_of_five_sentences_at_a_time() -> None:
    first = [" bad red . and more", " good . and more", " good red . and more", " bad .", " red ."]
    then = [" bad .", " good end .", " bad red .|", " bad .", " bad ."]
    exchange, asked = sampling(first, then)
    scores = Scores()
    found = asyncio.run(eta(scores).answer(QUERY, exchange))
    # All rewards of the second round count the good sentence that the answer begins with: the image decides.
    assert found == "As an AI assistant good red . bad red ."
    drawn = [request for request in asked if request.temperature]
    assert [request.begun for request in drawn[:5]] == ["As an AI assistant"] * 5
    assert [request.begun for request in drawn[5:10]] == ["As an AI assistant good red ."] * 5
    assert len({request.seed for request in drawn}) == len(drawn)
    assert "As an AI assistant good red ." in scores.rewarded


def test_eta_ends_with_a_sentence_that_ends_the_answer_or_at_its_limit() -> None:
    exchange, _ = sampling([" good red .|", *[" bad ."] * 4])
    assert asyncio.run(eta(Scores()).answer(QUERY, exchange)) == "As an AI assistant good red ."
    exchange, _ = sampling(*[[" good red . x"] * 5] * 2)
    said = asyncio.run(eta(Scores(), max_sentences=2).answer(QUERY, exchange))
    assert said == "As an AI assistant good red . good red ."


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (" It is 3.5 m. And", " It is 3.5 m."),
        ("No! Yes", "No!"),
        ("a\nb", "a"),
        ("\n a. b", "\n a."),
        ("no end ", "no end"),
        ("", ""),
    ],
)
def test_the_first_sentence(text: str, sentence: str) -> None:
    assert first_sentence(text) == sentence


def test_eta_runs_on_the_testbed_with_its_helpers(
    model: VisionLanguageModel, queries: Sets, clip_folder: Path, reward_folder: Path
) -> None:
    options = f"clip={clip_folder},reward={reward_folder},reward_threshold=9,clip_threshold=-1,max_sentences=2"
    found = load_defence(f"eta:{options}")
    assert isinstance(found, Eta) and found.begins_answers

    async def send(request: Request, limit: int | None) -> Response:
        return model.respond([request], limit or 12)[0]

    query = replace(queries[0][0], malicious=False)
    answers = [asyncio.run(found.answer(query, Exchange(send))) for _ in range(2)]
    assert answers[0].startswith("As an AI assistant")
    assert answers[0] == answers[1], "the draw depends on seeds alone"


class Broken:
    identity = "broken"

    def __call__(self, *args: object) -> float:
        raise RuntimeError("the helper ran out of memory")

    score = similarity = __call__


def test_a_helper_that_fails_fails_the_query_closed(tmp_path: Path) -> None:
    pytest.importorskip("inspect_ai")
    from davsp.evaluation.run import evaluate
    from tests.evaluation.fakes import QUERIES, FakeModel, transcripts

    defence = eta(Broken())  # type: ignore[arg-type]
    results = evaluate(FakeModel(), [defence], QUERIES[:2], output=tmp_path, batch_size=4, progress=False)
    assert results.unscored == {"eta": 2}
    assert results.cost["eta"].model_dump() == {
        "n": 0, "calls": None, "input_tokens": None, "output_tokens": None, "helper_calls": None, "seconds": None,
    }  # fmt: skip
    failed = transcripts(tmp_path)["m1"]["eta"]
    assert failed["text"] == "" and "out of memory" in failed["error"]
