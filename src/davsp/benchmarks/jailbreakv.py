"""JailBreakV-28K: 28,000 jailbreaks, of language models and of vision-language models, with images."""

from __future__ import annotations

from pathlib import Path

from davsp.benchmarks.base import Benchmark, Hub, Purpose, Variant
from davsp.benchmarks.collector import QueryCollector
from davsp.benchmarks.reading import locate, records

TABLES = {"full": "JailBreakV_28K.csv", "mini": "mini_JailBreakV_28K.csv"}


def _read(folder: Path, variant: str, queries: QueryCollector) -> None:
    table = locate(folder, f"JailBreakV_28K/{TABLES[variant]}", TABLES[variant])
    for row in records(table, "id", "jailbreak_query", "redteam_query", "format", "policy", "image_path"):
        queries.add(
            str(row["id"]),
            table.parent / row["image_path"],
            row["jailbreak_query"],
            malicious=True,
            group=row["format"],
            policy=row["policy"],
            request=row["redteam_query"],
        )


BENCHMARK = Benchmark(
    name="jailbreakv",
    title="JailBreakV-28K",
    purpose=Purpose.SAFETY,
    source="huggingface.co/datasets/JailbreakV-28K/JailBreakV-28k (JailBreakV_28K)",
    hub=Hub("JailbreakV-28K/JailBreakV-28k", "f949ca582fff13d396ac8fce59596afafb2b78d3", ("JailBreakV_28K/*",)),
    licence="MIT",
    citation=(
        "Luo et al., JailBreakV: A Benchmark for Assessing the Robustness of MultiModal Large Language Models against "
        "Jailbreak Attacks, COLM 2024, arXiv 2404.03027"
    ),
    content="Harmful requests under 16 policies, inside jailbreak prompts and images.",
    variants={
        "full": Variant("all; the hub lacks images that the table names", 28_000),
        "mini": Variant("the official small choice", 280),
    },
    read=_read,
)
