"""`make bench`: how fast davsp is, beside a reference loop and the floor.

Into bench/results.json, and as tables into docs/performance.md. `--gpu` measures on one card instead, into
bench/results-gpu.json, in at most four minutes; `--tiny` tries that on a CPU.

`python -m bench --size testbed --part training` measures some of it again and keeps the rest of the file.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import torch

from bench import (
    answering,
    applying,
    faults,
    gating,
    gpu,
    growth,
    quality,
    reading,
    requests,
    scaling,
    serving,
    training,
)
from bench.measuring import Row, line, machine, markdown, versions
from davsp.util.files import write_json, write_text

RESULTS = Path(__file__).parent / "results.json"
RESULTS_GPU = Path(__file__).parent / "results-gpu.json"
PAGE = Path(__file__).parents[1] / "docs" / "performance.md"
GROWTH = """How it grows, on the testbed models: training samples per second with the batch; seconds of a malicious step
with the decoder layer it ends at, and with the side of the image in pixels; and what preparing queries costs, with the
memory it takes beyond the loaded model."""
PARTS = {
    "training": (training.rows, ("testbed", "slim")),
    "vector": (reading.rows, ("testbed", "slim")),
    "evaluation": (answering.rows, ("testbed", "slim")),
    "quality": (quality.rows, ("testbed",)),
    "gate": (gating.rows, ("testbed", "slim")),
    "apply": (applying.rows, ("testbed",)),
    "request": (requests.rows, ("testbed", "slim")),
    "serving": (serving.rows, ("testbed",)),
    "faults": (faults.rows, ("testbed",)),
    "scaling": (scaling.rows, ("testbed",)),
}
GROWN = "growth"


def main(arguments: list[str] | None = None) -> int:
    """Measure what is asked for, print each row, and put it into the file of results in place of the row it renews."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--part", action="append", choices=[*PARTS, GROWN, *gpu.PARTS], help="default: all")
    parser.add_argument("--size", action="append", help="default: testbed and slim")
    parser.add_argument("--gpu", action="store_true", help="measure on one card")
    parser.add_argument("--tiny", action="store_true", help="with --gpu: try it on a CPU, with tiny models")
    parser.add_argument("--results", type=Path, help="file of the results of --gpu")
    parser.add_argument("--page", action="store_true", help="measure nothing: write the tables into the page")
    asked = parser.parse_args(arguments)
    known = gpu.PARTS if asked.gpu else [*PARTS, GROWN]
    if unknown := set(asked.part or ()) - set(known):
        parser.error(f"{', '.join(unknown)}: choose from {', '.join(known)}")
    if asked.tiny and not (asked.gpu and asked.results):
        parser.error("--tiny goes with --gpu and --results FILE: what it measures is no result")
    if asked.gpu and not asked.tiny and not torch.cuda.is_available():
        parser.error("there is no GPU here: --tiny tries the bench without one")
    if asked.gpu:
        rows = gpu.measure(asked.results or RESULTS_GPU, asked.part or list(gpu.PARTS), tiny=asked.tiny)
        if not asked.tiny and not asked.results:
            write_page()
        return int(any("failed" in row for row in rows))
    if not asked.page:
        _measure(asked.part or [*PARTS, GROWN], asked.size or ["testbed", "slim"])
    write_page()
    return 0


def _measure(parts: list[str], sizes: list[str]) -> None:
    found = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    kept: list[Row] = found.get("rows", [])
    grown = found.get("growth", {})
    for part in parts:
        print(f"Measuring {part}", file=sys.stderr, flush=True)
        if part == GROWN:
            grown = growth.growth()
        else:
            measure, of = PARTS[part]
            for row in (row for size in of if size in sizes for row in measure(size)):
                print(line(row), flush=True)
                row["threads"] = torch.get_num_threads()
                kept = [r for r in kept if (r["name"], r["size"]) != (row["name"], row["size"])] + [row]
        there = {key: value for key, value in machine().items() if key != "threads"}  # which each row has
        write_json(RESULTS, {"machine": there, "versions": versions(), "rows": kept, "growth": grown})


def write_page() -> None:
    """Write the tables of both files of results into PAGE."""
    found = json.loads(RESULTS.read_text("utf-8"))
    grown = found["growth"]
    _put("bench", markdown(found["rows"], found["machine"]) + (_grown(grown) if grown else ""))
    if RESULTS_GPU.is_file():
        on_gpu = json.loads(RESULTS_GPU.read_text("utf-8"))
        where = on_gpu["machine"] | {"date": on_gpu["date"], "torch": f"torch {on_gpu['versions']['torch']}"}
        _put("gpu", markdown(on_gpu["rows"], where))


def _put(mark: str, table: str) -> None:
    """Put a table between its marks in PAGE."""
    before, rest = PAGE.read_text("utf-8").split(f"<!-- {mark} -->\n")
    _, after = rest.split(f"<!-- /{mark} -->")
    write_text(PAGE, f"{before}<!-- {mark} -->\n{table}<!-- /{mark} -->{after}")


def _grown(grown: dict[str, growth.Points]) -> str:
    return f"\n{GROWTH}\n\n{growth.markdown(grown)}"


if __name__ == "__main__":
    sys.exit(main())
