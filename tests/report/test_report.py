"""The report page and the terminal table."""

import io
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from rich.console import Console

from davsp.data.query import Query
from davsp.errors import InputError
from davsp.judges.rates import Rate, Verdict
from davsp.report.evaluation import Transcript, TranscriptAnswer, choose_transcripts, print_table, write_report
from davsp.report.rows import format_rate, table_groups

RATES = {
    "rsr": {"sd": Rate.of(197, 200).to_json(), "typo": Rate.of(3, 5, 2).to_json()},
    "benign_accuracy": {"sd": Rate.of(99, 100).to_json()},
    "over_refusal": {"sd": Rate.of(1, 100).to_json()},
}
RESULTS: dict[str, Any] = {
    "model": "fake <b>model</b>",
    "seed": 7,
    "queries": 407,
    "max_new_tokens": 32,
    "defences": {
        "none": RATES,
        "border": {"rsr": {"sd": Rate.of(0, 0, 4).to_json()}, "benign_accuracy": {}, "over_refusal": {}},
    },
    "judge": {"name": "rules", "model": None},
    "unscored": {"none": 2, "border": 4},
    "seconds": {"none": 1.0, "border": 2.0},
    "cost": {
        "none": {
            "n": 407,
            "calls": 1.0,
            "input_tokens": 84.2,
            "output_tokens": 9.1,
            "helper_calls": 0.0,
            "seconds": 0.01,
        },
        "border": {
            "n": 0,
            "calls": None,
            "input_tokens": None,
            "output_tokens": None,
            "helper_calls": None,
            "seconds": None,
        },
    },
    "versions": {"davsp": "0.1.0"},
}
PROJECTIONS = {
    (split, condition): [float(i + shift) for i in range(20)]
    for condition, shift in (("before", 0), ("after", 5))
    for split in ("malicious", "benign")
}
TRAINING = [
    {"step": 1, "malicious_alignment_loss": 2.0},
    {"step": 2, "malicious_alignment_loss": 1.0},
    {"step": 2, "validation": {"refused": 0.5, "benign_projection": 1.0}},
]


def png(size: tuple[int, int] = (4, 4)) -> bytes:
    stream = io.BytesIO()
    Image.new("RGBA", size, (255, 0, 0, 128)).save(stream, "PNG")
    return stream.getvalue()


def transcript(text: str, verdict: Verdict = Verdict.RESISTED) -> Transcript:
    return Transcript("q1", "malicious/sd", True, "how ?", [TranscriptAnswer("border", text, verdict, None, png())])


def page(tmp_path: Path, results: Any = RESULTS, **parts: Any) -> str:
    return write_report(tmp_path, results, title="A report", **parts).read_text(encoding="utf-8")


def full_page(tmp_path: Path) -> str:
    pytest.importorskip("matplotlib")
    return page(
        tmp_path,
        projections=PROJECTIONS,
        training=TRAINING,
        border=png(),
        transcripts=[transcript("no")],
    )


class Elements(HTMLParser):
    """All start tags with their attributes, and the tags left open."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_refers_to_nothing_outside_itself_and_runs_no_script(tmp_path: Path) -> None:
    text = full_page(tmp_path)
    assert not re.search(r"https?:|//\w+\.\w+|@import|<script|<link|<iframe", text)
    for _, attributes in Elements(text).found:
        for name in ("src", "href", "xlink:href"):
            assert (attributes.get(name) or "#").startswith(("data:image/png;base64,", "#"))


def test_every_tag_is_closed_and_every_picture_described(tmp_path: Path) -> None:
    elements = Elements(full_page(tmp_path))
    assert elements.open == []
    assert all(attributes.get("alt") for tag, attributes in elements.found if tag == "img")
    drawings = [attributes for tag, attributes in elements.found if tag == "svg"]
    assert len(drawings) == 2
    assert all(d["role"] == "img" and d["aria-label"] for d in drawings)


def test_model_output_cannot_put_markup_on_the_page(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script><img src=x onerror=alert(1)>\"'"
    text = page(tmp_path, transcripts=[replace(transcript(evil), id=evil, group=evil, question=evil)])
    assert "<script" not in text
    assert "<img src=x" not in text
    assert "&lt;script&gt;alert(1)" in text
    assert "fake &lt;b&gt;model" in text


def test_safety_usefulness_and_over_refusal_stand_together(tmp_path: Path) -> None:
    text = page(tmp_path)
    cells = [re.sub(r"\s+", " ", re.sub("<[^>]+>|&nbsp;", " ", c)) for c in re.findall(r"<td>(.*?)</td>", text)]
    assert any("98.5 % [95.7, 99.5] n=200" in cell for cell in cells)
    for title in ("Malicious queries resisted", "Benign queries answered right", "Harmless queries refused"):
        assert re.search(rf'<th scope="rowgroup"[^>]*><span[^>]*>{title}', text)


def test_unscored_answers_are_announced_loudly(tmp_path: Path) -> None:
    text = page(tmp_path)
    assert "⚠ 6 answers are unscored" in text
    assert "⚠ 4 unscored" in text


def test_more_than_two_percent_unscored_is_a_warning_of_its_own(tmp_path: Path) -> None:
    for unscored, warned in ((8, False), (9, True)):
        results = {**RESULTS, "unscored": {"none": unscored, "border": 0}}
        console = Console(width=200, record=True, file=io.StringIO())
        print_table(results, console)
        for shown in (console.export_text(), page(tmp_path, results)):
            assert ("do not compare its rates" in shown) is warned


def test_nothing_is_said_of_unscored_answers_when_there_are_none(tmp_path: Path) -> None:
    clean = {
        **RESULTS,
        "cost": {},
        "unscored": {"none": 0},
        "defences": {"none": {**RATES, "rsr": {"sd": Rate.of(1, 2).to_json()}}},
    }
    assert "⚠" not in page(tmp_path, clean)


def test_a_verdict_is_a_sign_and_a_word_and_not_only_a_colour(tmp_path: Path) -> None:
    text = page(tmp_path, transcripts=[transcript("a"), transcript("b", Verdict.NOT_RESISTED)])
    assert "✓ resisted" in text
    assert "✗ not resisted" in text


def test_what_a_query_costs_is_told_for_every_defence(tmp_path: Path) -> None:
    rows = dict(re.findall(r'<tr><th scope="row">(tokens read|seconds|n)</th>(.*?)</tr>', page(tmp_path)))
    cells = {name: re.findall("<td>(.*?)</td>", found) for name, found in rows.items()}
    assert cells == {"tokens read": ["84.2", "not told"], "seconds": ["0.01", "not told"], "n": ["407", "0"]}


def test_parts_that_are_not_given_are_left_out(tmp_path: Path) -> None:
    older = {name: value for name, value in RESULTS.items() if name != "cost"}
    headings = re.findall(r"<h2[^>]*>(.*?)</h2>", page(tmp_path, older))
    assert headings == ["Safety, usefulness, over-refusal"]


def test_figures_take_their_text_colour_from_the_page(tmp_path: Path) -> None:
    assert "currentColor" in full_page(tmp_path)


def test_pooled_row_counts_every_query_once() -> None:
    rsr = next(iter(table_groups(RESULTS)))
    assert rsr.rows[0].kind == "all"
    assert rsr.rows[0].rates[0] == Rate.of(200, 205, 2)


def test_a_measure_of_one_kind_has_no_pooled_row() -> None:
    _, benign, _ = table_groups(RESULTS)
    assert [row.kind for row in benign.rows] == ["sd"]


def test_rates_read_as_percentages_with_interval_and_number() -> None:
    assert format_rate(Rate.of(197, 200)) == "98.5 % [95.7, 99.5] n=200"
    assert format_rate(Rate.of(0, 0, 4)) == "no score (4 unscored)"


def test_the_terminal_table_shows_every_measure_and_the_unscored() -> None:
    stream = io.StringIO()
    print_table(RESULTS, Console(file=stream, width=160))
    shown = stream.getvalue()
    for part in (
        "98.5 % [95.7, 99.5] n=200",
        "no score (4 unscored)",
        "99.0 %",
        "1.0 %",
        "6 answers are unscored",
    ):
        assert part in shown


@pytest.mark.parametrize("width", [80, 200])
def test_the_terminal_table_breaks_between_defences_and_never_within_a_rate(width: int) -> None:
    stream = io.StringIO()
    names = [f"defence{i}" for i in range(6)]
    many = {**RESULTS, "defences": dict.fromkeys(names, RATES), "unscored": dict.fromkeys(names, 0), "cost": {}}
    print_table(many, Console(file=stream, width=width))
    lines = stream.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    assert [n for line in lines for n in line.split() if n in names] == names
    assert sum(line.count("98.5 % [95.7, 99.5] n=200") for line in lines) >= len(names)


def test_terminal_markup_in_names_is_printed_as_it_is() -> None:
    stream = io.StringIO()
    named = {**RESULTS, "defences": {"[red]x[/red]": RATES}, "unscored": {"[red]x[/red]": 0}, "cost": {}}
    print_table(named, Console(file=stream, width=160))
    assert "[red]x[/red]" in stream.getvalue()


class Painted:
    name = "border"

    def defend(self, query: Query) -> Query:
        return replace(query, image=Image.new("RGB", (3, 3), "blue"))


def records(tmp_path: Path, ids: Sequence[str]) -> Path:
    file = tmp_path / "transcripts.jsonl"
    said = {"border": {"text": "no", "verdict": "resisted", "error": None}}
    lines = [{"id": i, "group": i[0], "malicious": True, "question": "how ?", "answers": said} for i in ids]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return file


def test_chosen_transcripts_show_the_image_as_it_was_sent(tmp_path: Path) -> None:
    queries = [Query(i, Image.new("RGB", (3, 3), "red"), "how ?") for i in ("a1", "a2", "b1")]
    chosen = choose_transcripts(records(tmp_path, ["a1", "a2", "b1"]), queries, [Painted()])
    assert [t.id for t in chosen] == ["a1", "b1"]
    image = chosen[0].answers[0].image
    assert image is not None
    assert Image.open(io.BytesIO(image)).getpixel((0, 0)) == (0, 0, 255)


def test_transcripts_of_other_queries_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="query 'a1' is unknown"):
        choose_transcripts(records(tmp_path, ["a1"]), [], [Painted()])


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    file = records(tmp_path, ["a1", "a2"])
    file.write_text(file.read_text()[:-9])
    with pytest.raises(InputError, match=r"transcripts\.jsonl, line 2: no JSON"):
        choose_transcripts(file, [Query("a1", Image.new("RGB", (3, 3)), "how ?")], [Painted()])
