"""HarmBench, its multimodal part: 110 behaviours, each with an image."""

from __future__ import annotations

from pathlib import Path

from davsp.benchmarks.base import Benchmark, Purpose, Variant
from davsp.benchmarks.collector import QueryCollector, request_with_image
from davsp.benchmarks.reading import image_named, locate, records

CATEGORIES = {
    "cybercrime_intrusion": 54,
    "illegal": 36,
    "harmful": 9,
    "chemical_biological": 4,
    "harassment_bullying": 4,
    "misinformation_disinformation": 3,
}

_TABLE = "behavior_datasets/harmbench_behaviors_multimodal_all.csv"


def _read(folder: Path, variant: str, queries: QueryCollector) -> None:  # noqa: ARG001 - there is one variant
    table = locate(folder, _TABLE, f"data/{_TABLE}")
    images = table.parent.parent / "multimodal_behavior_images"
    for row in records(table, "Behavior", "BehaviorID", "SemanticCategory", "ImageFileName"):
        image = images / row["ImageFileName"]
        queries.add(
            row["BehaviorID"],
            image if image.is_file() else image_named(images, image.stem),
            row["Behavior"],
            malicious=True,
            group=row["SemanticCategory"],
            **request_with_image(row["Behavior"], row.get("ImageDescription")),
        )


BENCHMARK = Benchmark(
    name="harmbench",
    title="HarmBench (multimodal)",
    purpose=Purpose.SAFETY,
    source="github.com/centerforaisafety/HarmBench (data/behavior_datasets, data/multimodal_behavior_images)",
    hub=None,
    licence="MIT",
    citation=(
        "Mazeika et al., HarmBench: A Standardized Evaluation Framework for Automated Red Teaming and Robust Refusal, "
        "ICML 2024, arXiv 2402.04249"
    ),
    content="Harmful requests about images: intrusion, crime, weapons, harassment.",
    variants={"all": Variant("all multimodal behaviours", sum(CATEGORIES.values()), CATEGORIES)},
    read=_read,
)
