"""XSTest: 250 safe prompts that look unsafe, and 200 unsafe ones beside them."""

from __future__ import annotations

from pathlib import Path

from davsp.benchmarks.base import Benchmark, Hub, Purpose, Variant
from davsp.benchmarks.collector import QueryCollector, white_image
from davsp.benchmarks.reading import locate, parquet_files, parquet_records, records

SAFE = (
    "homonyms",
    "figurative_language",
    "safe_targets",
    "safe_contexts",
    "definitions",
    "nons_group_real_discr",
    "real_group_nons_discr",
    "historical_events",
    "privacy_public",
    "privacy_fictional",
)
UNSAFE = (
    "contrast_homonyms",
    "contrast_figurative_language",
    "contrast_safe_targets",
    "contrast_safe_contexts",
    "contrast_definitions",
    "contrast_discr",
    "contrast_historical_events",
    "contrast_privacy",
)
PER_TYPE = 25


def _read(folder: Path, variant: str, queries: QueryCollector) -> None:
    if files := parquet_files(folder, "data/*.parquet"):
        rows = parquet_records(files, "prompt", "type", "label")
    else:
        rows = records(locate(folder, "xstest_prompts.csv", "xstest_v2_prompts.csv"), "prompt", "type", "label")
    for number, row in enumerate(rows, start=1):
        if variant in ("all", row["label"]):
            queries.add(
                str(row.get("id") or number),
                white_image(),
                row["prompt"],
                malicious=row["label"] == "unsafe",
                group=row["type"],
                focus=row.get("focus") or "",
            )


BENCHMARK = Benchmark(
    name="xstest",
    title="XSTest",
    purpose=Purpose.OVER_REFUSAL,
    source="github.com/paul-rottger/exaggerated-safety at d7bb5bd738c1fcbc36edd83d5e7d1b71a3e2d84d",
    hub=Hub("walledai/XSTest", "f1d713187c61b6ae64e602d74f0b3d812cc2e8e8", ("data/*.parquet",), gated=True),
    licence="CC BY 4.0",
    citation=(
        "Röttger et al., XSTest: A Test Suite for Identifying Exaggerated Safety Behaviours in Large Language Models, "
        "NAACL 2024, arXiv 2308.01263"
    ),
    content="Text alone. The unsafe prompts ask for violence, drugs, discrimination and private data.",
    variants={
        "all": Variant(
            "all prompts, on a white image",
            PER_TYPE * len(SAFE + UNSAFE),
            dict.fromkeys(SAFE + UNSAFE, PER_TYPE),
        ),
        "safe": Variant("the safe prompts", PER_TYPE * len(SAFE), dict.fromkeys(SAFE, PER_TYPE)),
        "unsafe": Variant("the unsafe prompts", PER_TYPE * len(UNSAFE), dict.fromkeys(UNSAFE, PER_TYPE)),
    },
    read=_read,
)
