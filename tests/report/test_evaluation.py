"""The page of one evaluation."""

import io
import re
from html.parser import HTMLParser
from pathlib import Path

from rich.console import Console

from davsp.report.terminal import print_table
from davsp.results import Rate, Verdict
from tests.report.one_evaluation import RATES, RESULTS, full_page, page, transcript


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
    text = page(tmp_path, transcripts=[transcript(evil, about=evil)])
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
        results = RESULTS.model_copy(update={"unscored": {"none": unscored, "border": 0}})
        console = Console(width=200, record=True, file=io.StringIO())
        print_table(results, console)
        for shown in (console.export_text(), page(tmp_path, results)):
            assert ("do not compare its rates" in shown) is warned


def test_nothing_is_said_of_unscored_answers_when_there_are_none(tmp_path: Path) -> None:
    rates = RATES.model_copy(update={"rsr": {"sd": Rate.of(1, 2)}})
    clean = RESULTS.model_copy(update={"cost": {}, "unscored": {"none": 0}, "defences": {"none": rates}})
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
    older = RESULTS.model_copy(update={"cost": {}})
    headings = re.findall(r"<h2[^>]*>(.*?)</h2>", page(tmp_path, older))
    assert headings == ["Safety, usefulness, over-refusal"]


def test_figures_take_their_text_colour_from_the_page(tmp_path: Path) -> None:
    assert "currentColor" in full_page(tmp_path)
