"""Evaluation: queries answered and judged per second; the same answers."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from bench.measuring import Row, in_turns, row
from bench.subjects import queries_in_files
from bench.training import prepare
from davsp.defences.textual import Undefended
from davsp.evaluation.run import evaluate
from davsp.util.batching import batched

BATCH = {"testbed": 32, "slim": 4}
PER_GROUP = {"testbed": 32, "slim": 1}
MOST = {"slim": 4}
"""Queries that are asked at most, where a CPU takes seconds for each."""
NEW_TOKENS = 24


def rows(size: str) -> list[Row]:
    """The undefended model on the same queries: ours from files to results.json, the others the answers alone."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        bench = prepare(size, folder)
        queries = queries_in_files(folder, PER_GROUP[size])[0][: MOST.get(size)]
        batch = BATCH[size]
        ready = batched(queries, batch)
        turn = iter(range(1000))

        def ours() -> None:
            evaluate(
                bench.vlm,
                [Undefended()],
                queries,
                output=folder / f"turn-{next(turn)}",
                batch_size=batch,
                max_new_tokens=NEW_TOKENS,
                progress=False,
            )

        seconds = in_turns(
            {
                "reference": lambda: bench.reference.answers(queries, NEW_TOKENS),
                "ours": ours,
                "floor": lambda: [bench.vlm.generate(some, NEW_TOKENS) for some in ready],
            }
        )
    return [
        row(
            "evaluation: queries per second",
            size,
            seconds,
            reference_aim=3,
            floor_aim=0.75 if size == "testbed" else 0.9,
            note=f"{len(queries)} queries in batches of {batch}, at most {NEW_TOKENS} tokens; "
            "ours with Inspect's log, verdicts and results",
        )
    ]
