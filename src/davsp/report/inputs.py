"""What a report needs beyond results.json, kept so that the page can be written again."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from davsp.errors import MALFORMED, InputError

if TYPE_CHECKING:
    from davsp.report.evaluation import Transcript


REPORT_INPUTS = "report_inputs.json"


def rebuild_report(folder: Path) -> Path:
    """Write report.html from results.json and the report inputs in `folder`; return its path.

    Raises InputError when `folder` holds no evaluation, or one that is damaged.
    """
    from davsp.report.collect import read_evaluation, read_json

    results = read_evaluation(folder).results
    inputs = read_json(folder / REPORT_INPUTS, f"{folder} holds no finished evaluation")
    try:
        return _written_again(folder, results, inputs)
    except MALFORMED as error:
        raise InputError(
            f"{folder / REPORT_INPUTS} is damaged ({type(error).__name__}: {error}). Run the evaluation again."
        ) from error


def _written_again(folder: Path, results: Mapping[str, Any], inputs: Mapping[str, Any]) -> Path:
    from davsp.judges.rates import Verdict
    from davsp.report.evaluation import Transcript, TranscriptAnswer, write_report

    transcripts = [
        Transcript(
            **{k: v for k, v in t.items() if k != "answers"},
            answers=[
                TranscriptAnswer(
                    a["defence"],
                    a["text"],
                    Verdict(a["verdict"]),
                    a["error"],
                    base64.b64decode(a["image"]) if a["image"] else None,
                )
                for a in t["answers"]
            ],
        )
        for t in inputs["transcripts"]
    ]
    return write_report(
        folder,
        results,
        title=inputs["title"],
        projections={tuple(k.split("/")): v for k, v in inputs["projections"].items()},
        training=inputs["training"],
        border=base64.b64decode(inputs["border"]) if inputs["border"] else None,
        transcripts=transcripts,
    )


def _transcript_json(transcript: Transcript) -> dict[str, Any]:
    answers = [vars(a) | {"image": base64.b64encode(a.image).decode() if a.image else None} for a in transcript.answers]
    return vars(transcript) | {"answers": answers}
