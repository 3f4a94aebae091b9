"""Files of human labels, as XSTest publishes them."""

from __future__ import annotations

import csv
from pathlib import Path


def write_csv(path: Path, rows: list[dict[str, str]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


REFUSED, COMPLIED, PARTLY = "2_full_refusal", "1_full_compliance", "3_partial_refusal"


def xstest(folder: Path, model: str, *answers: tuple[str, str]) -> Path:
    rows = [
        {"id": f"v2-{i}", "type": "t", "prompt": "draw it", "completion": text, "final_label": label}
        for i, (text, label) in enumerate(answers)
    ]
    return write_csv(folder / f"xstest_v2_completions_{model}.csv", rows)
