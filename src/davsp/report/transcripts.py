"""A few queries and answers for the page of an evaluation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from davsp.data.query import Query
from davsp.defences.base import Defence
from davsp.errors import InputError
from davsp.imaging.opening import open_image, png_bytes
from davsp.report.inputs import Transcript, TranscriptAnswer
from davsp.results import TRANSCRIPTS, read_transcripts


def choose_transcripts(
    folder: Path, queries: Sequence[Query], defences: Sequence[Defence], per_group: int = 1
) -> list[Transcript]:
    """The first queries of every group from an evaluation's transcripts.jsonl, with the images as they were sent.

    `queries` and `defences` are those of the evaluation. Raises InputError if the file does not fit them.
    """
    query_of = {query.id: query for query in queries}
    defence_of = {defence.name: defence for defence in defences}
    seen = Counter[str]()
    chosen = []
    for record in read_transcripts(folder):
        seen[record.group] += 1
        if seen[record.group] > per_group:
            continue
        if record.id not in query_of:
            raise InputError(
                f"{folder / TRANSCRIPTS}: query {record.id!r} is unknown. Give the queries of the evaluation."
            )
        answers = [
            TranscriptAnswer(
                defence=name,
                text=answer.text,
                verdict=answer.verdict,
                error=answer.error,
                image=None if answer.error else _image_as_sent(query_of[record.id], defence_of[name]),
            )
            for name, answer in record.answers.items()
            if name in defence_of
        ]
        chosen.append(
            Transcript(
                id=record.id,
                group=record.group,
                malicious=record.malicious,
                question=record.question,
                answers=answers,
            )
        )
    return chosen


def _image_as_sent(query: Query, defence: Defence) -> bytes:
    """Of a defence that asks more than once, the user's own image."""
    return png_bytes(open_image(defence.preview(query).image))
