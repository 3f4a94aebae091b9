"""Seconds of several ways to do the same work, taken in turns, and what a row of results holds."""

from __future__ import annotations

import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch

PAIRS = 5
"""Every figure is a median over so many turns."""
Row = dict[str, Any]


def in_turns(sides: Mapping[str, Callable[[], object]], turns: int = PAIRS) -> dict[str, list[float]]:
    """Seconds of each side in each turn, told on stderr. Turn 0 warms up and is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(turns + 1):
        for name, work in sides.items():
            finish()
            begun = time.perf_counter()
            work()
            finish()
            took = time.perf_counter() - begun
            print(f"  turn {turn} of {turns}, {name}: {took:.3g} s", file=sys.stderr, flush=True)
            if turn:
                seconds[name].append(took)
    return seconds


def finish() -> None:
    """Wait for a GPU to be done with what it was given."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def spread(values: list[float], aim: float | None = None) -> dict[str, float | None]:
    """Median, lowest and highest of some ratios, and what they should reach."""
    return {"median": statistics.median(values), "low": min(values), "high": max(values), "aim": aim}


def percentile(values: list[float], percent: float) -> float:
    """What `percent` % of the values are at most."""
    return float(np.percentile(values, percent))


def row(
    name: str,
    size: str,
    seconds: Mapping[str, list[float]],
    *,
    work: Mapping[str, float] | None = None,
    reference_aim: float | None = None,
    floor_aim: float | None = None,
    note: str = "",
    figures: Mapping[str, dict[str, float | None]] = MappingProxyType({}),
) -> Row:
    """How many times faster "ours" is than "reference" and than "floor", whichever was measured.

    `work`: how much each side does in one turn, where that differs (samples, queries). `figures`: others, by what they
    are, as `spread` makes them.
    """
    done = work or {}

    def ratios(other: str, aim: float | None) -> dict[str, float | None] | None:
        if other not in seconds:
            return None
        share = done.get("ours", 1.0) / done.get(other, 1.0)
        return spread([share * s / o for s, o in zip(seconds[other], seconds["ours"], strict=True)], aim)

    return {
        "name": name,
        "size": size,
        "vs_reference": ratios("reference", reference_aim),
        "vs_floor": ratios("floor", floor_aim),
        "n": len(seconds["ours"]),
        "note": note,
        **({"figures": dict(figures)} if figures else {}),
    }


def line(row: Row) -> str:
    """A row as it is shown while the bench runs."""
    if row.get("failed"):
        return f"{row['name']} ({row['size']}): not measured: {row['failed']}"
    shown = [
        f"{side} {_figure(found['median'])}x [{_figure(found['low'])}, {_figure(found['high'])}]"
        + (f", aim {found['aim']:g}" if found["aim"] else "")
        for side in ("vs_reference", "vs_floor")
        if (found := row[side])
    ]
    return f"{row['name']} ({row['size']}): {'; '.join(shown)}{'. ' if shown and _told(row) else ''}{_told(row)}"


def _told(row: Row) -> str:
    """Further figures of a row, and its note; or why it has none."""
    if row.get("failed"):
        return f"not measured: {row['failed']}"
    figures = [
        f"{name} {_figure(found['median'])}" + (f" (aim {found['aim']:g})" if found["aim"] else "")
        for name, found in row.get("figures", {}).items()
    ]
    return "; ".join([*figures, *([row["note"]] if row["note"] else [])])


def _figure(value: float | None) -> str:
    """Two decimals, or two digits of what is smaller than that."""
    assert value is not None
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.2f}" if abs(value) >= 0.095 else f"{value:.2g}"


def markdown(rows: list[Row], machine: dict[str, Any]) -> str:
    """The rows as a Markdown table: medians, with the lowest and highest in brackets, and what was aimed at."""

    def cell(found: dict[str, float | None] | None) -> str:
        if found is None:
            return ""
        wanted = f"; aim {found['aim']:g}" if found["aim"] else ""
        return f"{_figure(found['median'])} [{_figure(found['low'])}, {_figure(found['high'])}]{wanted}"

    where = ", ".join(str(v) + (" threads" if k == "threads" else "") for k, v in machine.items() if v)
    lines = [
        f"On {where}.",
        "",
        "| what | size | ours : reference | ours : floor | runs | |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {r['name']} | {r['size']} | {cell(r['vs_reference'])} | {cell(r['vs_floor'])} "
        f"| {r['n']}{_threads(r)} | {_told(r)} |"
        for r in rows
    ]
    return "\n".join(lines) + "\n"


def _threads(row: Row) -> str:
    """With how many threads a row was measured, where it says so."""
    count = row.get("threads")
    return f", with {count} thread{'s' if count > 1 else ''}" if count else ""


def in_process_of_its_own(module: str, *arguments: str) -> str:
    """What a module of the bench prints, run in a fresh process."""
    done = subprocess.run([sys.executable, "-m", module, *arguments], capture_output=True, text=True, check=True)
    return done.stdout


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [text.partition(":")[2].strip() for text in lines if text.startswith("model name")]
    return {
        "processor": names[0] if names else platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def versions() -> dict[str, str]:
    """Of what decides the speed, as far as it is installed."""
    found = {}
    for name in ("davsp", "torch", "transformers", "inspect_ai", "pillow"):
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found
