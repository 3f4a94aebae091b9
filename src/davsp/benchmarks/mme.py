"""MME: 14 subtasks of perception and cognition, two yes/no questions to an image, and its calculator."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from davsp.benchmarks.base import Benchmark, BenchmarkAnswer, Headline, Hub, Purpose, Variant
from davsp.benchmarks.collector import QueryCollector
from davsp.benchmarks.figures import Scores, resampled, score_files
from davsp.benchmarks.reading import image_named, locate, parquet_files, parquet_records, records
from davsp.benchmarks.yes_no import right_answer, right_where
from davsp.data.records import read_text
from davsp.errors import InputError
from davsp.rates import Figure

PERCEPTION = {
    "existence": 60,
    "count": 60,
    "position": 60,
    "color": 60,
    "posters": 294,
    "celebrity": 340,
    "scene": 400,
    "landmark": 400,
    "artwork": 400,
    "OCR": 40,
}
COGNITION = {"commonsense_reasoning": 140, "numerical_calculation": 40, "text_translation": 40, "code_reasoning": 40}
SUBTASKS = PERCEPTION | COGNITION
"""The subtasks and their published numbers of questions, two to an image."""

LLAVA_ENDING = "\nAnswer the question using a single word or phrase."
MME_ENDING = "Please answer yes or no."
DECIMALS = 2


@dataclass(frozen=True)
class MmeAnswer:
    """An answer to one of the two questions about an image."""

    subtask: str
    image: str
    question: str
    gold: str
    text: str

    @property
    def parsed(self) -> str:
        return parse(self.text)

    @property
    def right(self) -> bool:
        return self.gold.lower() == self.parsed


def parse(text: str) -> str:
    """Either "yes", "no" or "other", as the official calculator reads an answer: by its first four characters."""
    start = text.lower()[:4]
    if "yes" in start:
        return "yes"
    return "no" if "no" in start else "other"


def score(answers: Iterable[MmeAnswer], name: str = "") -> Scores:
    """The official scores: a subtask's is 100 acc + 100 acc+, perception and cognition are sums of them.

    acc is the share of questions answered right, acc+ that of images with both of two answers right; two answers
    belong together that follow each other in a subtask. "other" is wrong. A sum of which a subtask has no answers is
    left out, with a note. Raises InputError where there are no answers, or one of a pair is missing.
    """
    by_subtask: dict[str, list[MmeAnswer]] = {subtask: [] for subtask in SUBTASKS}
    for answer in answers:
        if answer.subtask not in by_subtask:
            raise InputError(f"MME has no subtask {answer.subtask!r}. Choose from {', '.join(SUBTASKS)}.")
        by_subtask[answer.subtask].append(answer)
    if not any(by_subtask.values()):
        raise InputError("there are no answers to score.")
    notes, figures, pairs = [], dict[str, Figure](), dict[str, NDArray[np.float64]]()
    for subtask, given in by_subtask.items():
        if not given:
            continue
        if len(given) != SUBTASKS[subtask]:
            notes.append(f"{subtask}: {len(given)} of {SUBTASKS[subtask]} answers")
        if others := sum(answer.parsed == "other" for answer in given):
            notes.append(f"{subtask}: {others} answers neither yes nor no, counted as wrong")
        right = np.array(list(_paired(subtask, given)), dtype=np.float64)
        both = right.min(axis=1)
        figures[f"{subtask}/acc"] = Figure.share(int(right.sum()), right.size)
        figures[f"{subtask}/acc_plus"] = Figure.share(int(both.sum()), len(both))
        pairs[subtask] = 100 * right.mean(axis=1) + 100 * both
        points = 100 * figures[f"{subtask}/acc"].value + 100 * figures[f"{subtask}/acc_plus"].value
        figures[subtask] = _points(points, [pairs[subtask]])
    sums = {}
    for total, parts in (("perception", PERCEPTION), ("cognition", COGNITION), ("total", SUBTASKS)):
        if absent := [subtask for subtask in parts if subtask not in figures]:
            notes.append(f"there is no {total}: no answers to {', '.join(absent)}")
            continue
        points = sum(figures[subtask].value for subtask in parts)
        sums[total] = _points(points, [pairs[subtask] for subtask in parts])
    return Scores(name, sums | figures, DECIMALS, tuple(notes))


def _paired(subtask: str, answers: Sequence[MmeAnswer]) -> Iterator[tuple[bool, bool]]:
    if len(answers) % 2:
        raise InputError(f"{subtask}: {len(answers)} answers are no pairs. MME asks two questions about each image.")
    for one, two in zip(answers[::2], answers[1::2], strict=True):
        if one.image != two.image:
            raise InputError(f"{subtask}: answers about {one.image} and {two.image} stand together, and are no pair.")
        yield one.right, two.right


def _points(value: float, strata: Sequence[NDArray[np.float64]]) -> Figure:
    return resampled(value, strata, lambda *means: np.sum(means, axis=0))


def read_answers(path: Path, folder: Path | None = None) -> list[MmeAnswer]:
    """Answers of a folder of 14 files `<subtask>.txt`: image, question, gold and answer, with tabs between.

    A .jsonl file of LLaVA's evaluation (question_id, prompt, text) has no gold: it is taken from `folder`, which holds
    14 such files too (their answers, if any, do not count).
    """
    if path.is_dir():
        return [answer for subtask in SUBTASKS for answer in _lines(locate(path, f"{subtask}.txt"), 4)]
    if folder is None:
        raise InputError(
            f"{path} does not say what is right. Give the folder of {len(SUBTASKS)} files <subtask>.txt that does "
            "(such as eval_tool/LaVIN) with --folder."
        )
    golds = {
        (gold.subtask, gold.image, _plain(gold.question)): gold
        for subtask in SUBTASKS
        for gold in _lines(locate(folder, f"{subtask}.txt"), 3)
    }
    answers, seen = [], set[tuple[str, str, str]]()
    for record in records(path, "question_id", "prompt", "text"):
        subtask, _, image = str(record["question_id"]).partition("/")
        key = subtask, Path(image).name, _plain(str(record["prompt"]))
        if key not in golds:
            raise InputError(f"{path}: {folder} has no question {key[2]!r} about {key[1]} in {subtask}.")
        if key in seen:
            raise InputError(f"{path}: {key[2]!r} about {key[1]} in {subtask} is answered twice. Keep one of them.")
        seen.add(key)
        gold = golds[key]
        answers.append(MmeAnswer(subtask, gold.image, gold.question, gold.gold, str(record["text"])))
    return answers


def _plain(question: str) -> str:
    return question.removesuffix(LLAVA_ENDING).strip().removesuffix(MME_ENDING).strip()


def _lines(path: Path, needed: int) -> Iterator[MmeAnswer]:
    for number, line in enumerate(read_text(path).rstrip("\n").split("\n"), start=1):
        cells = line.split("\t")
        if not needed <= len(cells) <= 4:
            raise InputError(f"{path}, line {number}: {len(cells)} cells with tabs between, not {needed}.")
        if cells[2].lower() not in ("yes", "no"):
            raise InputError(f"{path}, line {number}: the right answer is {cells[2]!r}, neither yes nor no.")
        yield MmeAnswer(path.stem, cells[0], cells[1], cells[2], cells[3] if len(cells) == 4 else "")


def _score(path: Path, folder: Path | None) -> list[Scores]:
    return score_files([path], lambda file: score(read_answers(file, folder), file.stem))


def _official(answers: Sequence[BenchmarkAnswer]) -> Scores:
    """The calculator's scores of whole pairs; an image with one answer alone is left out."""
    pairs: dict[tuple[str, str], list[MmeAnswer]] = {}
    for a in answers:
        pairs.setdefault((a.group, a.image), []).append(MmeAnswer(a.group, a.image, "", a.reference, a.text))
    whole = [answer for pair in pairs.values() if len(pair) == 2 for answer in pair]
    left_out = len(answers) - len(whole)
    notes = (f"{left_out} answers are left out: the other of their pair is missing",) if left_out else ()
    if not whole:
        return Scores("", {}, DECIMALS, notes)
    scores = score(whole)
    return replace(scores, notes=(*scores.notes, *notes))


def _read(folder: Path, variant: str, queries: QueryCollector) -> None:
    wanted = {"perception": PERCEPTION, "cognition": COGNITION}.get(variant, SUBTASKS)
    if files := parquet_files(folder, "data/test-*.parquet"):
        for record in parquet_records(files, "question_id", "image", "question", "answer", "category"):
            if record["category"] in wanted:
                name = Path(str(record["question_id"])).name
                _add(queries, record["category"], name, record["image"], record["question"], record["answer"])
        return
    for subtask in wanted:
        home = locate(folder, subtask, f"MME_Benchmark_release_version/{subtask}")
        texts, images = home / "questions_answers_YN", home / "images"
        if not texts.is_dir():
            texts = images = home
        if not (listed := sorted(texts.glob("*.txt"))):
            raise InputError(f"{texts} holds no .txt files of questions. Is the set downloaded as a whole?")
        for path in listed:
            image = image_named(images, path.stem)
            for line in read_text(path).rstrip("\n").split("\n"):
                question, _, label = line.partition("\t")
                _add(queries, subtask, image.name, image, question, label)


def _add(queries: QueryCollector, subtask: str, name: str, image: Path | bytes, question: str, label: str) -> None:
    pair = f"{subtask}/{name}"
    if answer := right_answer(queries, pair, label):
        queries.add(
            f"{pair}/{answer.lower()}",
            image,
            question,
            answer=answer,
            malicious=False,
            group=subtask,
            image_name=name,
            pair=pair,
        )


def _variant(what: str, groups: Mapping[str, int]) -> Variant:
    return Variant(what, sum(groups.values()), groups, images=sum(groups.values()) // 2)


BENCHMARK = Benchmark(
    name="mme",
    title="MME",
    purpose=Purpose.USEFULNESS,
    source="github.com/BradyFU/Awesome-Multimodal-Large-Language-Models (MME_Benchmark_release_version)",
    hub=Hub("lmms-lab/MME", "d6c9023f017b564f7b3ccccf5348166bce8fdbcd", ("data/test-*.parquet",)),
    licence="for academic research only, on application to its authors",
    citation=(
        "Fu et al., MME: A Comprehensive Evaluation Benchmark for Multimodal Large Language Models, 2023, "
        "arXiv 2306.13394"
    ),
    content="Harmless.",
    variants={
        "all": _variant("14 subtasks", SUBTASKS),
        "perception": _variant("10 subtasks", PERCEPTION),
        "cognition": _variant("4 subtasks", COGNITION),
    },
    read=_read,
    right=right_where(parse),
    official=_official,
    score=_score,
    headline=Headline("total"),
)
