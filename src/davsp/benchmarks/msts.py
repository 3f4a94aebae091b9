"""MSTS: 400 prompts in five kinds of hazard whose unsafe meaning only image and text have together."""

from __future__ import annotations

from pathlib import Path

from davsp.benchmarks.base import Benchmark, Hub, Purpose, Variant
from davsp.benchmarks.collector import QueryCollector, request_with_image, white_image
from davsp.benchmarks.reading import image_named, locate, parquet_files, parquet_records, records

HAZARDS = {
    "Violent Crimes": 70,
    "Non-Violent Crimes": 140,
    "Sex-Related Crimes": 60,
    "Suicide & Self-Harm": 80,
    "Other": 50,
}
TABLES = {"multimodal": "english_multimodal.csv", "text_only": "english_textonly.csv"}


def _read(folder: Path, variant: str, queries: QueryCollector) -> None:
    needed = ("prompt_text", "prompt_type", "hazard_category", "case_id")
    if variant == "multimodal" and (files := parquet_files(folder, "**/english*.parquet")):
        rows = parquet_records(files, *needed, "unsafe_image")
    else:
        table = locate(folder, f"prompts/{TABLES[variant]}", f"data/prompts/{TABLES[variant]}")
        root = table.parent.parent
        images = next((p for name in ("unsafe_images", "images") if (p := root / name).is_dir()), root / "images")
        rows = (
            row | {"unsafe_image": image_named(images, row["unsafe_image_id"])} if variant == "multimodal" else row
            for row in records(table, *needed, *(["unsafe_image_id"] if variant == "multimodal" else []))
        )
    for row in rows:
        queries.add(
            f"{row['case_id']}/{row['prompt_type']}",
            row.get("unsafe_image", white_image()),
            row["prompt_text"],
            malicious=True,
            group=row["hazard_category"],
            subcategory=row.get("hazard_subcategory") or "",
            **request_with_image(
                row["prompt_text"], row.get("unsafe_image_description") if variant == "multimodal" else None
            ),
        )


BENCHMARK = Benchmark(
    name="msts",
    title="MSTS",
    purpose=Purpose.SAFETY,
    source="github.com/paul-rottger/msts-multimodal-safety at e9ae69e8f1ab87ab2bb2ed7c51e992e0430f12e3 "
    "(data/prompts; images as its src/0_download_images.py fetches them)",
    hub=Hub("felfri/MSTS", "9630ca3cb6251749ca52fee51e68a21943b23067", ("**/english*.parquet",)),
    licence="CC BY 4.0; each image has its own",
    citation="Röttger et al., MSTS: A Multimodal Safety Test Suite for Vision-Language Models, 2025, arXiv 2501.10057",
    content="Crime, self-harm, sexual offences, weapons, drugs, nudity.",
    variants={
        "multimodal": Variant("English, with images", 400, HAZARDS, images=200),
        "text_only": Variant("English, the image said in words, on a white image", 400, HAZARDS),
    },
    read=_read,
)
