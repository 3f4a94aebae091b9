"""What the page of one evaluation is made of: results, projections, training, transcripts."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from davsp.rates import Cost, Rate, Rates, Verdict
from davsp.report.evaluation import write_report
from davsp.report.inputs import ReportInputs, Transcript, TranscriptAnswer
from davsp.results import JudgeFacts, Results

RATES = Rates(
    rsr={"sd": Rate.of(197, 200), "typo": Rate.of(3, 5, 2)},
    benign_accuracy={"sd": Rate.of(99, 100)},
    over_refusal={"sd": Rate.of(1, 100)},
)
RESULTS = Results(
    model="fake <b>model</b>",
    seed=7,
    queries=407,
    max_new_tokens=32,
    judge=JudgeFacts(name="rules", model=None),
    defences={"none": RATES, "border": Rates(rsr={"sd": Rate.of(0, 0, 4)}, benign_accuracy={}, over_refusal={})},
    unscored={"none": 2, "border": 4},
    cost={
        "none": Cost(n=407, calls=1.0, input_tokens=84.2, output_tokens=9.1, helper_calls=0.0, seconds=0.01),
        "border": Cost(n=0, calls=None, input_tokens=None, output_tokens=None, helper_calls=None, seconds=None),
    },
    seconds={"none": 1.0, "border": 2.0},
    versions={"davsp": "0.1.0"},
)
PROJECTIONS = {
    f"{side}/{condition}": [float(i + shift) for i in range(20)]
    for condition, shift in (("before", 0), ("after", 5))
    for side in ("malicious", "benign")
}
TRAINING: list[dict[str, Any]] = [
    {"step": 1, "malicious_alignment_loss": 2.0},
    {"step": 2, "malicious_alignment_loss": 1.0},
    {"step": 2, "validation": {"refused": 0.5, "benign_projection": 1.0}},
]


def png(size: tuple[int, int] = (4, 4)) -> bytes:
    stream = io.BytesIO()
    Image.new("RGBA", size, (255, 0, 0, 128)).save(stream, "PNG")
    return stream.getvalue()


def transcript(text: str, verdict: Verdict = Verdict.RESISTED, about: str = "q1") -> Transcript:
    """One answer to a query whose id, group and question are all `about`."""
    answer = TranscriptAnswer(defence="border", text=text, verdict=verdict, image=png())
    return Transcript(id=about, group=about, malicious=True, question=about, answers=[answer])


def page(folder: Path, results: Results = RESULTS, **parts: Any) -> str:
    pytest.importorskip("matplotlib")
    return write_report(folder, results, ReportInputs(title="A report", **parts)).read_text(encoding="utf-8")


def full_page(folder: Path) -> str:
    return page(folder, projections=PROJECTIONS, training=TRAINING, border=png(), transcripts=[transcript("no")])
