"""VLGuard: harmless and harmful instructions about harmless and harmful images, with reference responses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from davsp.benchmarks.base import Benchmark, Hub, Purpose, Variant
from davsp.benchmarks.collector import QueryCollector
from davsp.benchmarks.reading import locate, records

INSTRUCTIONS = {"safe_safe": "safe_instruction", "safe_unsafe": "unsafe_instruction", "unsafe": "instruction"}
"""The variants, and the column of each one's instruction: images that are safe with both kinds, and unsafe images."""


def _variants() -> dict[str, Variant]:
    variants = dict[str, Variant]()
    for prefix, safe, unsafe, side in (
        (
            "",
            558,
            {"risky behavior": 270, "privacy": 69, "discrimination": 85, "deception": 18},
            "test",
        ),
        (
            "train-",
            977,
            {"risky behavior": 612, "discrimination": 260, "privacy": 96, "deception": 55},
            "train",
        ),
    ):
        variants |= {
            f"{prefix}safe_unsafe": Variant(f"safe images, unsafe instructions ({side})", safe, {"safe_unsafe": safe}),
            f"{prefix}unsafe": Variant(f"unsafe images ({side})", sum(unsafe.values()), unsafe),
            f"{prefix}safe_safe": Variant(f"safe images, safe instructions ({side})", safe, {"safe_safe": safe}),
        }
    for name in INSTRUCTIONS:
        variants[f"train-{name}"] = replace(variants[f"train-{name}"], rest=name)
    return variants


def _read(folder: Path, variant: str, queries: QueryCollector) -> None:
    kind = variant.removeprefix("train-")
    side = "test" if kind == variant else "train"
    table = locate(folder, f"{side}.json", f"data/{side}.json")
    column = INSTRUCTIONS[kind]
    for record in records(table, "id", "image", "safe", "instr-resp"):
        for pair in record["instr-resp"]:
            if column in pair:
                queries.add(
                    str(record["id"]),
                    table.parent / side / str(record["image"]),
                    str(pair[column]),
                    answer=str(pair["response"]),
                    malicious=kind != "safe_safe",
                    group=str(record.get("harmful_category", kind)),
                    subcategory=str(record.get("harmful_subcategory", "")),
                )


BENCHMARK = Benchmark(
    name="vlguard",
    title="VLGuard",
    purpose=Purpose.SAFETY,
    source="huggingface.co/datasets/ys-zong/VLGuard (test.json, train.json; test.zip and train.zip unpacked)",
    hub=Hub("ys-zong/VLGuard", "b0be37a1ab7accb14e10d6a0ec3ce62cfaff2d46", gated=True),
    licence="MIT by its card, for research; its images have their own terms",
    citation=(
        "Zong et al., Safety Fine-Tuning at (Almost) No Cost: A Baseline for Vision Large Language Models, ICML 2024, "
        "arXiv 2402.02207"
    ),
    content="Harmful images and instructions: violence, sexual content, hate, privacy, deception.",
    variants=_variants(),
    read=_read,
)
