"""SIUO: questions and images that are harmless each by itself, and unsafe together."""

from __future__ import annotations

from pathlib import Path

from davsp.benchmarks.base import Benchmark, Hub, Purpose, Variant
from davsp.benchmarks.collector import QueryCollector
from davsp.benchmarks.reading import locate, records
from davsp.data.query import REFERENCE


def _read(folder: Path, variant: str, queries: QueryCollector) -> None:  # noqa: ARG001 - there is one variant
    table = locate(folder, "siuo_gen.json", "data/siuo_gen.json")
    images = locate(folder, "images", "data/images")
    for record in records(table, "question_id", "image", "question", "category"):
        queries.add(
            str(record["question_id"]),
            images / str(record["image"]),
            str(record["question"]),
            malicious=True,
            group=str(record["category"]),
            safety_warning=str(record.get("safety_warning", "")),
            **{REFERENCE: str(record.get("reference_answer", ""))},
        )


BENCHMARK = Benchmark(
    name="siuo",
    title="SIUO",
    purpose=Purpose.SAFETY,
    source="huggingface.co/datasets/sinwang/SIUO (siuo_gen.json, images)",
    hub=Hub("sinwang/SIUO", "024e80a01795376b9fed12f8073a12f2275f22ee", ("siuo_gen.json", "images/*")),
    licence="none stated in what was found; see its card",
    citation="Wang et al., Safe Inputs but Unsafe Output: Cross-Modality Safety Alignment, 2024, arXiv 2406.15279",
    content="Situations in which a plain answer is dangerous: self-harm, crime, discrimination, privacy.",
    variants={"gen": Variant("free answers", 167)},
    read=_read,
)
