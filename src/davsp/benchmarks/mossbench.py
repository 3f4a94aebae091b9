"""MOSSBench: harmless queries that look harmful, and harmful counterparts of them."""

from __future__ import annotations

from pathlib import Path

from davsp.benchmarks.base import Benchmark, Hub, Purpose, Variant
from davsp.benchmarks.collector import QueryCollector
from davsp.benchmarks.reading import locate, records

_TABLE = "images_information/information.json"


def _read(folder: Path, variant: str, queries: QueryCollector) -> None:
    homes = ("data_contrast",) if variant == "contrast" else (".", "data")
    table = locate(folder, *(f"{home}/{_TABLE}".removeprefix("./") for home in homes))
    for record in records(table, "image", "question", "metadata"):
        queries.add(
            str(record["id"]),
            table.parent.parent / str(record["image"]),
            str(record["question"]),
            malicious=variant == "contrast",
            group=str(record["metadata"]["over"]),
            description=str(record.get("description", "")),
        )


BENCHMARK = Benchmark(
    name="mossbench",
    title="MOSSBench",
    purpose=Purpose.OVER_REFUSAL,
    source="github.com/xirui-li/MOSSBench at 8d68b0614b39d8990a508e03d99975832f399db2 (data, data_contrast)",
    hub=Hub("AIcell/MOSSBench", None),
    licence="CC BY-SA 4.0; its authors prohibit training on it",
    citation=(
        "Li et al., MOSSBench: Is Your Multimodal Language Model Oversensitive to Safe Queries?, ICLR 2025, "
        "arXiv 2406.17806"
    ),
    content="Harmless queries with weapons, violence and the like in view; the contrast set is harmful.",
    variants={
        "safe": Variant("harmless queries", 300, {"type 1": 100, "type 2": 100, "type 3": 100}, images=300),
        "contrast": Variant("their harmful counterparts", 244, {"type 1": 100, "type 2": 44, "type 3": 100}),
    },
    read=_read,
    untrainable="its authors prohibit training on it",
)
