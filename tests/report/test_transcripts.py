"""The queries and answers that a page shows."""

import io
import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image

from davsp.data.query import Query
from davsp.defences.base import RewritingDefence
from davsp.defences.textual import Undefended
from davsp.errors import InputError
from davsp.report.transcripts import choose_transcripts


class Painted(RewritingDefence):
    name = "border"
    identity = "painted"

    def defend(self, query: Query) -> Query:
        return query.with_image(Image.new("RGB", (3, 3), "blue"))


def records(folder: Path, ids: Sequence[str]) -> Path:
    said = {"border": {"text": "no", "verdict": "resisted", "error": None}}
    lines = [{"id": i, "group": i[0], "malicious": True, "question": "how ?", "answers": said} for i in ids]
    (folder / "transcripts.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def test_chosen_transcripts_show_the_image_as_it_was_sent(tmp_path: Path) -> None:
    queries = [Query(i, Image.new("RGB", (3, 3), "red"), "how ?") for i in ("a1", "a2", "b1")]
    chosen = choose_transcripts(records(tmp_path, ["a1", "a2", "b1"]), queries, [Painted()])
    assert [t.id for t in chosen] == ["a1", "b1"]
    image = chosen[0].answers[0].image
    assert image is not None
    assert Image.open(io.BytesIO(image)).getpixel((0, 0)) == (0, 0, 255)


def test_several_images_are_shown_side_by_side_and_none_where_there_is_none(tmp_path: Path) -> None:
    several = [Image.new("RGB", (3 + i, 3 - i), colour) for i, colour in enumerate(("red", "blue"))]
    queries = [Query("a1", several, "how ?"), Query("b1", question="how ?")]
    undefended = {"none": {"text": "no", "verdict": "resisted", "error": None}}
    lines = [{"id": q.id, "group": q.id, "malicious": True, "question": "?", "answers": undefended} for q in queries]
    (tmp_path / "transcripts.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    both, without = (t.answers[0].image for t in choose_transcripts(tmp_path, queries, [Undefended()]))
    assert without is None and both is not None
    shown = Image.open(io.BytesIO(both))
    assert shown.size == (7, 3)
    assert [shown.getpixel(at) for at in ((0, 0), (6, 0), (6, 2))] == [(255, 0, 0), (0, 0, 255), (255, 255, 255)]


def test_transcripts_of_other_queries_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="query 'a1' is unknown"):
        choose_transcripts(records(tmp_path, ["a1"]), [], [Painted()])


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    file = records(tmp_path, ["a1", "a2"]) / "transcripts.jsonl"
    file.write_text(file.read_text()[:-9])
    with pytest.raises(InputError, match=r"transcripts\.jsonl, line 2: no JSON"):
        choose_transcripts(tmp_path, [Query("a1", Image.new("RGB", (3, 3)), "how ?")], [Painted()])


def test_queries_that_teach_are_chosen(tmp_path: Path) -> None:
    class Other(Painted):
        name = "other"

    def line(number: int, group: str, none: str, border: str, other: str) -> dict[str, object]:
        verdicts = {"none": none, "border": border, "other": other}
        said = {name: {"text": "x", "verdict": verdict, "error": None} for name, verdict in verdicts.items()}
        return {"id": str(number), "group": group, "malicious": False, "question": "how ?", "answers": said}

    lines = [
        line(0, "a", "wrong", "wrong", "wrong"),  # wrong undefended as well: nothing was lost
        line(1, "a", "correct", "correct", "correct"),
        line(2, "a", "correct", "correct", "over-refused"),  # the first of its group to differ
        line(3, "a", "correct", "wrong", "correct"),  # the first loss
        line(4, "a", "correct", "over-refused", "correct"),
        line(5, "b", "correct", "correct", "correct"),  # none of its group differs
        line(6, "b", "correct", "correct", "correct"),
    ]
    (tmp_path / "transcripts.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    queries = [Query(str(i), Image.new("RGB", (3, 3)), "how ?") for i in range(7)]
    chosen = choose_transcripts(tmp_path, queries, [Painted(), Other()])
    assert [transcript.id for transcript in chosen] == ["2", "3", "5"]
    assert [answer.defence for answer in chosen[0].answers] == ["border", "other"]
