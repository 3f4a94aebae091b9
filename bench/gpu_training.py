"""On a GPU: training steps of true geometry, compiled and recomputed ones, the vector, a whole training."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import torch

from bench.gpu_place import Measure, Place, nominal_flops
from bench.measuring import Row, finish, in_turns, row, spread
from bench.reading import vector_row
from bench.training import OF_BARE, PAPER_BATCH, SIDES, forget_peak, peak_mib, peak_of_step, row_of_peaks
from davsp.models.blocks import Blocks
from davsp.testbed.queries import border_queries
from davsp.training.config import TrainConfig
from davsp.training.jobs import make_objectives
from davsp.training.trainer import Trainer
from davsp.training.vector import extract_vector

BATCHES = (PAPER_BATCH, 8, 16)
"""Malicious samples of a step, and as many benign ones."""
FASTER = {PAPER_BATCH: 3.0, 8: 5.5, 16: 5.5}
"""How many times the reference's speed is wanted."""
UTILISATION = {"7b": 0.50, "13b": 0.52}
RECOMPUTED = "16 + 16 samples, recomputed as need be : 8 + 8 as they are, in samples per second"
WHOLE = "a whole training at our defaults, by its parts"


def step_name(batch: int) -> str:
    return f"training, {batch} + {batch} samples a step"


def compiled_name(batch: int) -> str:
    return f"compile=true : false, {batch} + {batch} samples a step, as speed"


def steps_row(place: Place, batch: int) -> Row:
    """Ours, the reference's and the bare loop's; the last is left out where it does not fit the GPU."""
    bench = place.bench
    sides: dict[str, Callable[[], object]] = {"ours": partial(place.ours, batch)}
    if not place.slow:
        sides["reference"] = bench.slow
    floor = bench.floor(batch)
    if _fits(floor):
        sides["floor"] = floor
    seconds = in_turns(sides, place.turns)
    place.slow = seconds.setdefault("reference", place.slow)
    _, _, needed = bench.arithmetic(batch)
    done = [2 * needed * batch / s for s in seconds["ours"]]
    aim = UTILISATION[place.size] if batch > PAPER_BATCH else None
    peaks = {"of the nominal peak": nominal_flops(), "of the measured peak": place.measured_flops}
    figures = {
        f"MFU {name}": spread([flops / peak for flops in done], aim if "nominal" in name else None)
        for name, peak in peaks.items()
        if peak
    }
    notes = [f"measured peak {place.measured_flops / 1e12:.3g} TFLOP/s"]
    if "floor" not in sides:
        notes.append("the floor does not fit")
    if share := place.shares[batch]:
        notes.append(f"{100 * share:.0f} % of the blocks recomputed")
    return row(
        step_name(batch),
        place.size,
        seconds,
        work={"ours": batch, "floor": batch, "reference": PAPER_BATCH},
        reference_aim=FASTER[batch],
        floor_aim=OF_BARE,
        figures=figures | {"samples a second": spread([2 * batch / s for s in seconds["ours"]])},
        note="; ".join(notes),
    )


def peak_row(place: Place) -> Row:
    """Memory of the paper's batch, each side after one that is not counted."""
    place.bench.objective.recomputed = 0.0
    for side in SIDES:
        peak_of_step(place.bench, side)
    # At least 1 MiB, for a CPU takes what it has freed before.
    return row_of_peaks(place.size, {side: [max(1.0, peak_of_step(place.bench, side))] for side in SIDES})


def reading_row(place: Place) -> Row:
    per_group = place.chosen(2, 1)
    return vector_row(place.bench, place.size, place.folder, per_group, 16, reference_aim=None, turns=place.turns)


def recomputed_row(place: Place) -> Row:
    """The largest batch, with as much recomputing as it needs, beside half of it with none."""
    half, full = BATCHES[1:]
    place.ours(full)
    forget_peak()
    place.ours(full)
    finish()
    peak = peak_mib() / 1024
    seconds = in_turns({"floor": partial(place.ours, half), "ours": partial(place.ours, full)}, place.turns)
    return row(
        RECOMPUTED,
        place.size,
        seconds,
        work={"ours": full, "floor": half},
        floor_aim=0.8,
        figures={"peak GiB": spread([peak], 80)},
        note=f"{100 * place.shares[full]:.0f} % of the blocks recomputed",
    )


def compiled_row(place: Place, batch: int) -> Row:
    """The same steps; what the first compiled one takes longer than one as it is, is the cold start."""
    objective = place.bench.objective
    plain, compiled = objective.blocks, Blocks(objective.model, compiled=True)

    def take(blocks: Blocks) -> None:
        objective.blocks = blocks
        place.ours(batch)

    try:
        take(plain)
        seconds = [_seconds(partial(take, blocks)) for blocks in (plain, compiled)]
        turns = in_turns({"floor": partial(take, plain), "ours": partial(take, compiled)}, place.turns)
    finally:
        objective.blocks = plain
    return row(
        compiled_name(batch),
        place.size,
        turns,
        figures={"cold start in seconds": spread([max(0.0, seconds[1] - seconds[0])])},
        note="the floor is compile=false",
    )


def whole_row(place: Place) -> Row:
    """What vector, preparing, steps and validations take together, of which few are measured."""
    config = TrainConfig()
    vlm = place.bench.vlm
    training, checks = border_queries(0, per_group=place.chosen(8, 2), checks_per_group=place.chosen(8, 1))
    begun = time.perf_counter()
    vector = extract_vector(vlm, training, checks, prefix=config.prefix)
    read = time.perf_counter() - begun
    begun = time.perf_counter()
    trainer = Trainer(make_objectives([(vlm, vector)], config, training, checks, quiet=True))
    prepared = time.perf_counter() - begun
    first = _seconds(lambda: trainer.step(0))
    step = min(_seconds(partial(trainer.step, number)) for number in (1, 2))
    validation = _seconds(trainer.validation_record)
    validations = 1 + -(-config.steps // config.validate_every)
    parts = {
        "vector": read,
        "preparing": prepared,
        f"{config.steps} steps": first + (config.steps - 1) * step,
        f"{validations} validations": validations * validation,
    }
    told = ", ".join(f"{name} {seconds:.3g} s" for name, seconds in parts.items())
    queries = f"{len(training)} + {len(checks)} queries"
    return row(
        WHOLE,
        place.size,
        {"ours": [sum(parts.values())]},
        figures={"seconds": spread([sum(parts.values())], 180)},
        note=f"{told}; from three steps and one validation; {queries}; loading the model is not counted",
    )


def _seconds(work: Callable[[], object]) -> float:
    finish()
    begun = time.perf_counter()
    work()
    finish()
    return time.perf_counter() - begun


def _fits(work: Callable[[], object]) -> bool:
    """Whether a GPU has the memory for it."""
    try:
        work()
    except torch.OutOfMemoryError:
        fits = False
    else:
        fits = True
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return fits


STEPS: dict[str, Measure] = {step_name(batch): partial(steps_row, batch=batch) for batch in BATCHES}
COMPILED: dict[str, Measure] = {compiled_name(b): partial(compiled_row, batch=b) for b in (16, PAPER_BATCH)}
