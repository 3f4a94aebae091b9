"""A few queries and answers for the page of an evaluation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import accumulate
from pathlib import Path

from PIL import Image

from davsp.data.query import Query
from davsp.defences.base import Defence
from davsp.errors import InputError
from davsp.imaging.opening import open_image, png_bytes
from davsp.rates import Verdict
from davsp.report.inputs import Transcript, TranscriptAnswer
from davsp.results import TRANSCRIPTS, UNDEFENDED, TranscriptRecord, read_transcripts

FAILURES = (Verdict.NOT_RESISTED, Verdict.OVER_REFUSED, Verdict.WRONG)


def choose_transcripts(folder: Path, queries: Sequence[Query], defences: Sequence[Defence]) -> list[Transcript]:
    """Queries that teach from an evaluation's transcripts.jsonl, in its order, with the images as they were sent.

    Of every group the first on which the verdicts differ, or the first; and behind a defence the first failure of each
    sort: a harmful answer, a harmless query refused, an answer wrong that was not wrong undefended. `queries` and
    `defences` are those of the evaluation. Raises InputError if the file does not fit them.
    """
    query_of = {query.id: query for query in queries}
    defence_of = {defence.name: defence for defence in defences}
    chosen = []
    for record in _that_teach(read_transcripts(folder)):
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


def differs(transcript: Transcript | TranscriptRecord) -> bool:
    """Whether the defences have different verdicts on a query."""
    answers = transcript.answers if isinstance(transcript, Transcript) else transcript.answers.values()
    return len({answer.verdict for answer in answers}) > 1


def _that_teach(records: Iterable[TranscriptRecord]) -> list[TranscriptRecord]:
    first: dict[str, TranscriptRecord] = {}
    failures: dict[Verdict, TranscriptRecord] = {}
    order: dict[str, int] = {}
    for record in records:
        order[record.id] = len(order)
        if record.group not in first or (differs(record) and not differs(first[record.group])):
            first[record.group] = record
        undefended = record.answers.get(UNDEFENDED)
        for name, answer in record.answers.items():
            was_wrong = undefended is not None and undefended.verdict is answer.verdict is Verdict.WRONG
            if answer.verdict in FAILURES and name != UNDEFENDED and not was_wrong:
                failures.setdefault(answer.verdict, record)
    chosen = {record.id: record for record in (*first.values(), *failures.values())}
    return sorted(chosen.values(), key=lambda record: order[record.id])


def _image_as_sent(query: Query, defence: Defence) -> bytes | None:
    """The images side by side; None for none. Of a defence that asks more than once, the user's own."""
    images = [open_image(image) for image in defence.preview(query).images]
    if len(images) <= 1:
        return png_bytes(images[0]) if images else None
    side_by_side = Image.new("RGB", (sum(i.width for i in images), max(i.height for i in images)), "white")
    for place, image in zip(accumulate((i.width for i in images), initial=0), images, strict=False):
        side_by_side.paste(image, (place, 0))
    return png_bytes(side_by_side)
