"""POPE: is there an object in a photograph that is not there, chosen at random, by frequency, or to mislead?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from davsp.benchmarks.base import Benchmark, BenchmarkAnswer, Headline, Hub, Purpose, Variant
from davsp.benchmarks.collector import QueryCollector
from davsp.benchmarks.figures import Scores, answer_files, resampled, score_files
from davsp.benchmarks.reading import locate, parquet_files, parquet_records, records
from davsp.benchmarks.yes_no import right_answer, right_where
from davsp.errors import InputError
from davsp.rates import Figure

KINDS = ("random", "popular", "adversarial")
QUESTIONS = 3000
DECIMALS = 4


def parse(text: str) -> str:
    """Either "yes" or "no", as the official code reads an answer.

    Of the part before the first full stop, without commas: "no" if one of its words is No, no or not, else "yes".
    """
    words = text.partition(".")[0].replace(",", "").split(" ")
    return "no" if {"No", "no", "not"} & set(words) else "yes"


def score(answers: Sequence[tuple[str, str]], name: str = "") -> Scores:
    """The official scores of pairs of label ("yes" or "no") and answer: accuracy, precision, recall, f1, yes_ratio.

    What cannot be had, such as precision where no answer is yes, is left out, with a note. Raises InputError where
    there are no answers, or a label is neither.
    """
    if not answers:
        raise InputError("there are no answers to score.")
    if bad := next((label for label, _ in answers if label not in ("yes", "no")), None):
        raise InputError(f"a label is {bad!r}, neither yes nor no.")
    says = np.array([[parse(text) == "yes"] for _, text in answers])[:, 0]
    true = np.array([label == "yes" for label, _ in answers])
    both, n = int((says & true).sum()), len(answers)
    figures = {"accuracy": Figure.share(int((says == true).sum()), n)}
    notes = []
    for part, of in (("precision", int(says.sum())), ("recall", int(true.sum()))):
        if of:
            figures[part] = Figure.share(both, of)
        else:
            notes.append(f"there is no {part}: no {'answer' if part == 'precision' else 'label'} is yes")
    if both:
        precision, recall = figures["precision"].value, figures["recall"].value
        columns = np.stack([says & true, says, true], axis=1).astype(np.float64)
        figures["f1"] = resampled(2 * precision * recall / (precision + recall), [columns], _f1)
    else:
        notes.append("there is no f1: no answer is rightly yes")
    figures["yes_ratio"] = Figure.share(int(says.sum()), n)
    if unclear := sum(not _says_either(text) for _, text in answers):
        notes.append(f"{unclear} answers say neither yes nor no; the official code counts them as yes")
    return Scores(name, figures, DECIMALS, tuple(notes))


def _official(answers: Sequence[BenchmarkAnswer]) -> Scores:
    return score([(a.reference.lower(), a.text) for a in answers]) if answers else Scores("", {}, DECIMALS)


def _f1(means: NDArray[np.float64]) -> NDArray[np.float64]:
    both, says, true = means
    f1: NDArray[np.float64] = 2 * both / (says + true)
    return f1


def _says_either(text: str) -> bool:
    return parse(text) == "no" or "yes" in text.lower()


def _labels(folder: Path, kind: str) -> Path:
    name = f"coco_pope_{kind}.json"
    return locate(folder, f"coco/{name}", name, f"output/coco/{name}")


def _score(path: Path, folder: Path | None) -> list[Scores]:
    files = answer_files(path, ".json or .jsonl files of answers", "*.json", "*.jsonl")
    return score_files(files, lambda file: score(_answers(file, folder), file.stem))


def _answers(path: Path, folder: Path | None) -> list[tuple[str, str]]:
    """Pairs of label and answer. The label is in the record, or in the label file of the kind its name has."""
    rows = list(records(path))
    if not all("answer" in row or {"prompt", "text"} <= row.keys() for row in rows):
        raise InputError(f"{path}: a record has no 'answer' (nor 'prompt' and 'text'), which is what the model said.")
    texts = [row["answer"] if "answer" in row else row["text"] for row in rows]
    if wrong := [text for text in texts if not isinstance(text, str)]:
        raise InputError(f"{path}: the answer {wrong[0]!r} is no text.")
    numbers = [str(row["question_id"]) for row in rows if "question_id" in row]
    if twice := next((number for number, count in Counter(numbers).items() if count > 1), None):
        raise InputError(f"{path}: question_id {twice} occurs twice. Keep one of its answers.")
    if all("label" in row for row in rows):
        labels = [str(row["label"]) for row in rows]
    else:
        kind = next((kind for kind in KINDS if kind in path.stem), None)
        if kind is None or folder is None:
            raise InputError(
                f"{path} has no labels. Give POPE's folder, with coco/coco_pope_<kind>.json (--folder), and name the "
                f"file after its kind: {', '.join(KINDS)}."
            )
        labelled = {str(row["question_id"]): str(row["label"]) for row in records(_labels(folder, kind), "label")}
        if len(labelled) != len(rows):
            raise InputError(f"{path} has {len(rows)} answers to {len(labelled)} questions of {kind}. Answer them all.")
        if len(numbers) != len(rows):
            raise InputError(f"{path}: a record has no question_id, by which its label is found.")
        if unknown := set(numbers) - labelled.keys():
            raise InputError(f"{path}: {kind} has no question with question_id {min(unknown)}.")
        labels = [labelled[number] for number in numbers]
    return list(zip(labels, texts, strict=True))


def _read(folder: Path, variant: str, queries: QueryCollector) -> None:
    if files := parquet_files(folder, f"Full/{variant}-*.parquet"):
        for record in parquet_records(files, "question_id", "question", "answer", "image_source", "image"):
            name = f"{record['image_source']}.jpg"
            _add(queries, record["question_id"], record["image"], name, record["question"], record["answer"], variant)
        return
    table = _labels(folder, variant)
    homes = [home / name for home in (folder, table.parent) for name in ("val2014", "images")]
    images = next((home for home in homes if home.is_dir()), homes[0])
    for record in records(table, "question_id", "image", "text", "label"):
        name = record["image"]
        _add(queries, record["question_id"], images / name, name, record["text"], record["label"], variant)


def _add(
    queries: QueryCollector, number: object, image: Path | bytes, name: str, question: str, label: str, variant: str
) -> None:
    identifier = f"{variant}/{number}"
    if answer := right_answer(queries, identifier, label):
        queries.add(identifier, image, question, answer=answer, malicious=False, group=variant, image_name=name)


BENCHMARK = Benchmark(
    name="pope",
    title="POPE",
    purpose=Purpose.USEFULNESS,
    source="github.com/RUCAIBox/POPE at 3df3ba1b110ecce25696989577fad583b67d4239 (output/coco) and COCO's val2014",
    hub=Hub("lmms-lab/POPE", "4db1276663dfa5eb8ad16a52d24c31a09e470896", ("Full/*.parquet",)),
    licence="MIT; the photographs are COCO's",
    citation="Li et al., Evaluating Object Hallucination in Large Vision-Language Models, EMNLP 2023, arXiv 2305.10355",
    content="Harmless.",
    variants={
        kind: Variant(f"absent objects: {kind}", QUESTIONS, {kind: QUESTIONS}, images=500)
        for kind in ("adversarial", "popular", "random")
    },
    read=_read,
    right=right_where(parse),
    official=_official,
    score=_score,
    headline=Headline("f1", "F1, %", scale=100),
)
