"""`make bench`: how fast davsp is, beside a reference loop and the floor.

Into bench/results.json, and as tables into docs/performance.md.

`python -m bench --size testbed --part training` measures some of it again and keeps the rest of the file.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import torch

from bench import answering, applying, growth, quality, reading, requests, scaling, serving, training
from bench.measuring import Row, line, machine, markdown, versions
from davsp.util.files import write_json, write_text

RESULTS = Path(__file__).parent / "results.json"
PAGE = Path(__file__).parents[1] / "docs" / "performance.md"
TABLE = "<!-- bench -->\n", "<!-- /bench -->"
"""What stands before and after the tables in PAGE."""
GROWTH = """How it grows, on the testbed models: training samples per second with the batch; seconds of a malicious step
with the decoder layer it ends at, and with the side of the image in pixels; and what preparing queries costs, with the
memory it takes beyond the loaded model."""
PARTS = {
    "training": (training.rows, ("testbed", "slim", "7b", "13b")),
    "vector": (reading.rows, ("testbed", "slim", "7b", "13b")),
    "evaluation": (answering.rows, ("testbed", "slim", "7b", "13b")),
    "quality": (quality.rows, ("testbed",)),
    "apply": (applying.rows, ("testbed",)),
    "request": (requests.rows, ("testbed", "slim")),
    "serving": (serving.rows, ("testbed",)),
    "faults": (serving.faulty, ("testbed",)),
    "scaling": (scaling.rows, ("testbed",)),
}
ON_A_GPU = ("7b", "13b")


def main() -> None:
    """Measure what is asked for, print each row, and put it into RESULTS in place of the row it renews."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--part", action="append", choices=[*PARTS, "growth"], help="default: all")
    parser.add_argument("--size", action="append", help="default: testbed and slim, and on a GPU 7b and 13b")
    asked = parser.parse_args()
    sizes = asked.size or ["testbed", "slim", *(ON_A_GPU if torch.cuda.is_available() else ())]
    found = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    kept: list[Row] = found.get("rows", [])
    grown = found.get("growth", {})
    for part in asked.part or [*PARTS, "growth"]:
        print(f"Measuring {part}", file=sys.stderr, flush=True)
        if part == "growth":
            grown = growth.growth()
        else:
            measure, of = PARTS[part]
            for row in (row for size in of if size in sizes for row in measure(size)):
                print(line(row), flush=True)
                kept = [r for r in kept if (r["name"], r["size"]) != (row["name"], row["size"])] + [row]
        write_json(RESULTS, {"machine": machine(), "versions": versions(), "rows": kept, "growth": grown})
    before, rest = PAGE.read_text("utf-8").split(TABLE[0])
    _, after = rest.split(TABLE[1])
    write_text(PAGE, before + TABLE[0] + markdown(kept, machine()) + _grown(grown) + TABLE[1] + after)


def _grown(grown: dict[str, growth.Points]) -> str:
    return f"\n{GROWTH}\n\n{growth.markdown(grown)}" if grown else ""


if __name__ == "__main__":
    main()
