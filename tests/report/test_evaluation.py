"""The page of one evaluation."""

import io
import re
from html.parser import HTMLParser
from pathlib import Path

from rich.console import Console

from davsp.rates import Rate, Verdict
from davsp.report.terminal import print_table
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
    assert len(drawings) == 4  # all kinds, each kind, projections, training
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
    row = re.search(r'<tr><th scope="row">none</th>(.*?)</tr>', text)
    assert row
    shown = re.sub(r"\s+", " ", re.sub("<[^>]+>|&nbsp;", " ", row[1]))
    for part in ("97.6 % [94.4, 99.0] n=205", "99.0 % [94.6, 99.8] n=100", "1.0 % [0.2, 5.4] n=100"):
        assert part in shown
    for title in ("Malicious queries resisted", "Benign queries answered right", "Harmless queries refused"):
        assert f'aria-label="{title}, by kind of query"' in text


def test_the_page_begins_with_what_to_beware_of_and_a_sentence_for_every_defence(tmp_path: Path) -> None:
    text = page(tmp_path).replace("\N{NO-BREAK SPACE}", " ")
    sentence = (
        "resisted 97.6 % [94.4, 99.0] of the malicious queries, answered 99.0 % [94.6, 99.8] of the benign ones right, "
        "refused 1.0 % [0.2, 5.4] of the harmless ones and took 1 call and 93 tokens a query."
    )
    places = [text.index(part) for part in ("6 answers are unscored", sentence, "was not measured", "<table>")]
    assert places == sorted(places)


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
    rates = RATES.model_copy(update={"rsr": {"sd": Rate.of(100, 200)}})
    clean = RESULTS.model_copy(update={"cost": {}, "unscored": {"none": 0}, "defences": {"none": rates}})
    assert "unscored" not in page(tmp_path, clean)


def test_a_verdict_is_a_sign_and_a_word_and_not_only_a_colour(tmp_path: Path) -> None:
    text = page(tmp_path, transcripts=[transcript("a"), transcript("b", Verdict.NOT_RESISTED)])
    assert "✓ resisted" in text
    assert "✗ not resisted" in text


def test_what_a_query_costs_is_told_for_every_defence(tmp_path: Path) -> None:
    text = page(tmp_path)
    for name, told in (("none", ["84.2", "0.01", "407"]), ("border", ["not told", "not told", "0"])):
        row = re.search(rf'<tr><th scope="row">{name}</th>(.*?)</tr>', text)
        assert row
        assert [re.findall(f'data-label="{c}">(.*?)</td>', row[1]) for c in ("Tokens read", "Seconds", "n")] == [
            [cell] for cell in told
        ]


def test_parts_that_are_not_given_are_left_out(tmp_path: Path) -> None:
    older = RESULTS.model_copy(update={"cost": {}})
    headings = re.findall(r"<h2[^>]*>(.*?)</h2>", page(tmp_path, older))
    assert headings == ["In short", "Safety, usefulness, over-refusal", "How it was made"]


def test_figures_take_their_text_colour_from_the_page(tmp_path: Path) -> None:
    assert "currentColor" in full_page(tmp_path)
