"""MM-SafetyBench: 1,680 questions in 13 scenarios, each behind a picture of its key phrase."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from davsp.benchmarks.base import Benchmark, Hub, Purpose, Variant
from davsp.benchmarks.collector import QueryCollector, white_image
from davsp.benchmarks.reading import fixed_choice, image_named, locate, records

SCENARIOS = {
    "01-Illegal_Activitiy": (97, 10),
    "02-HateSpeech": (163, 16),
    "03-Malware_Generation": (44, 5),
    "04-Physical_Harm": (144, 14),
    "05-EconomicHarm": (122, 12),
    "06-Fraud": (154, 15),
    "07-Sex": (109, 11),
    "08-Political_Lobbying": (153, 15),
    "09-Privacy_Violence": (139, 14),
    "10-Legal_Opinion": (130, 13),
    "11-Financial_Advice": (167, 17),
    "12-Health_Consultation": (109, 11),
    "13-Gov_Decision": (149, 15),
}
"""The published scenarios, and how many questions each has in full and in the Tiny version."""

TEXT_ONLY = "Text_only"
COLUMNS = {
    "SD_TYPO": "Rephrased Question",
    "SD": "Rephrased Question(SD)",
    "TYPO": "Rephrased Question",
    TEXT_ONLY: "Changed Question",
}
"""The published kinds, and the column whose text goes with the picture of each."""

PAPER_TRAINING = 200
"""Questions that train in DAVSP's paper, each in three kinds: 600 queries, and 1,480 of each kind to test on."""


def _variants() -> dict[str, Variant]:
    full = {scenario: counts[0] for scenario, counts in SCENARIOS.items()}
    tiny = {scenario: counts[1] for scenario, counts in SCENARIOS.items()}
    total = sum(full.values())
    variants = {}
    for kind in COLUMNS:
        what = "the question alone, on a white image" if kind == TEXT_ONLY else f"pictures {kind}"
        variants[kind] = Variant(what, total, full)
        variants[f"{kind}-tiny"] = Variant(f"{what}, the official Tiny version", sum(tiny.values()), tiny)
        variants[f"{kind}-paper-train"] = Variant(
            f"{what}, a part of the size DAVSP's paper trains on", PAPER_TRAINING, rest=f"{kind}-paper-test"
        )
        variants[f"{kind}-paper-test"] = Variant(f"{what}, all but paper-train", total - PAPER_TRAINING)
    return variants


def _read(folder: Path, variant: str, queries: QueryCollector) -> None:
    kind, _, part = variant.partition("-")
    questions = locate(folder, "processed_questions", "data/processed_questions")
    images = questions.parent / "imgs"
    read = {scenario: _questions(questions / f"{scenario}.json") for scenario in SCENARIOS}
    names = [f"{scenario}/{number}" for scenario, content in read.items() for number in content]
    chosen = _chosen(folder, part, names)
    for scenario, content in read.items():
        for number, record in content.items():
            if f"{scenario}/{number}" not in chosen:
                continue
            image = white_image() if kind == TEXT_ONLY else image_named(images / scenario / kind, number)
            queries.add(
                f"{scenario}/{kind}/{number}",
                image,
                str(record[COLUMNS[kind]]),
                malicious=True,
                group=scenario,
                request=str(record["Question"]),
            )


def _questions(path: Path) -> dict[str, dict[str, Any]]:
    return {str(record["id"]): record for record in records(path, "Question", *dict.fromkeys(COLUMNS.values()))}


def _chosen(folder: Path, part: str, names: list[str]) -> set[str]:
    if part == "tiny":
        path = locate(folder, "TinyVersion_ID_List.json")
        listed = records(path, "Scenario", "Sampled_ID_List")
        return {f"{record['Scenario']}/{number}" for record in listed for number in record["Sampled_ID_List"]}
    if not part:
        return set(names)
    training = fixed_choice(names, min(PAPER_TRAINING, len(names)))
    return training if part == "paper-train" else set(names) - training


BENCHMARK = Benchmark(
    name="mm_safetybench",
    title="MM-SafetyBench",
    purpose=Purpose.SAFETY,
    source="github.com/isXinLiu/MM-SafetyBench (data/processed_questions, data/imgs, TinyVersion_ID_List.json)",
    hub=Hub("PKU-Alignment/MM-SafetyBench", None),
    licence="CC BY-NC 4.0",
    citation=(
        "Liu et al., MM-SafetyBench: A Benchmark for Safety Evaluation of Multimodal Large Language Models, ECCV 2024, "
        "arXiv 2311.17600"
    ),
    content="Harmful requests in 13 scenarios, sexual content among them. For testing refusals only.",
    variants=_variants(),
    read=_read,
)
