"""Pages of results in a real browser: nothing fails to load, nothing sticks out, everything can be read."""

import http.server
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from davsp.defences.textual import Undefended
from davsp.evaluation.run import evaluate
from davsp.rates import Verdict
from davsp.report.comparison import write_comparison
from davsp.report.evaluation import write_report
from davsp.report.inputs import ReportInputs
from tests.browser import Browser, browser, find_chromium
from tests.evaluation.fakes import QUERIES, Careful, FakeModel
from tests.evaluations import SAFETY, verdicts, write_evaluation, write_model
from tests.report.one_evaluation import PROJECTIONS, RESULTS, TRAINING, png, transcript

pytest.importorskip("matplotlib")

STICKING_OUT = """
[...document.querySelectorAll('body *')].filter(e => {
  if (!e.checkVisibility() || e.closest('svg') || e.matches('.scroll, .scroll *:not(.stay), .answer')) return false;
  const within = e.parentElement.closest('.scroll, article, details, main, body').getBoundingClientRect();
  return e.getBoundingClientRect().right > within.right + 1 || e.scrollWidth > e.clientWidth + 1 && e.clientWidth;
}).map(e => e.outerHTML.slice(0, 80))
"""
RAGGED_ROWS = """
[...document.querySelectorAll('table')].flatMap(table => {
  const wide = row => [...row.cells].reduce((n, cell) => n + cell.colSpan, 0), first = wide(table.rows[0]);
  return [...table.rows].filter(row => wide(row) !== first).map(row => row.outerHTML.slice(0, 80));
})
"""
UNREADABLE = """
(() => {
  const parts = colour => colour.match(/[\\d.]+/g).map(Number);
  const light = colour => parts(colour).slice(0, 3).map(c => c / 255)
    .map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = e => {
    for (; e; e = e.parentElement) {
      const back = getComputedStyle(e).backgroundColor;
      if ((parts(back)[3] ?? 1) > 0) return back;
    }
    return 'rgb(255, 255, 255)';
  };
  return [...document.querySelectorAll('body *')]
    .filter(e => [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim()) && e.checkVisibility())
    .map(e => [light(getComputedStyle(e).color), light(behind(e)), e.outerHTML.slice(0, 80)])
    .filter(([a, b]) => (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05) < 4.5);
})()
"""


@pytest.fixture(scope="module")
def tab() -> Iterator[Browser]:
    if find_chromium() is None:
        pytest.skip("this machine has no Chromium to look at pages with")
    with browser() as found:
        yield found


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One evaluation; one model behind three defences; two models behind six, by two judges."""
    folder = tmp_path_factory.mktemp("pages")
    one = write_model(folder / "one", "some/model", 3)
    a = write_model(folder / "a", "llava-hf/llava-1.5-13b-hf", 6)
    b = write_model(folder / "b", "Qwen/Qwen2-VL-7B-Instruct", 6, seed=5)
    said = {"none": verdicts(SAFETY, 0.5, 1), "a_name_of_forty_letters_without_any_space": verdicts(SAFETY, 0.9, 2)}
    for judge in (("rules", None), ("llm", "openai/gpt-4o")):
        write_evaluation(b / judge[0], SAFETY, said, judge=judge)
    inputs = ReportInputs(
        title="One evaluation",
        projections=PROJECTIONS,
        training=TRAINING,
        border=png(),
        layer=20,
        thresholds=(30.0, 10.0),
        transcripts=[transcript("no"), transcript("yes", Verdict.WRONG, "q2")],
    )
    return {
        "single": write_report(folder / "single", RESULTS, inputs),
        "one model": write_comparison([one], one),
        "two models": write_comparison([a, b], a),
        "interactive": write_comparison([a, b], folder / "interactive", interactive=True),
    }


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 400])
@pytest.mark.parametrize("name", ["single", "one model", "two models", "interactive"])
def test_a_page_can_be_read_at_every_width_in_light_and_dark(
    tab: Browser, pages: dict[str, Path], name: str, width: int, dark: bool
) -> None:
    tab.open(pages[name].as_uri(), width=width, dark=dark)
    tab.value_of("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert tab.complaints == []
    assert tab.value_of("document.documentElement.scrollWidth") <= width
    assert tab.value_of(STICKING_OUT) == []
    if width == 400:
        wide = "[...document.querySelectorAll('.scroll')].filter(e => e.scrollWidth > e.clientWidth).length"
        assert tab.value_of(wide) == 0
    assert tab.value_of(RAGGED_ROWS) == []
    assert tab.value_of(UNREADABLE) == []
    ink = tab.value_of("getComputedStyle(document.querySelector('svg')).color")
    assert ink == tab.value_of("getComputedStyle(document.body).color")
    assert (tab.value_of("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)") is not dark


@pytest.mark.parametrize("width", [1280, 400])
@pytest.mark.parametrize("name", ["single", "one model", "two models", "interactive"])
def test_axe_finds_nothing_that_is_not_accessible(tab: Browser, pages: dict[str, Path], name: str, width: int) -> None:
    axe = pytest.importorskip("axe_core_python", reason="checks with axe-core: pip install axe-core-python")
    tab.open(pages[name].as_uri(), width=width)
    tab.value_of("document.querySelectorAll('details').forEach(d => d.open = true)")
    tab.value_of((Path(axe.__file__).parent / "axe.min.js").read_text("utf-8"))
    told = "r.violations.map(v => v.id + ': ' + v.nodes[0].html.slice(0, 99))"
    tab.value_of(f"axe.run().then(r => {{ found = {told} }}, e => {{ found = [String(e)] }}); 0")
    assert tab.wait_for("window.found !== undefined")
    assert tab.value_of("found") == []


def test_the_page_of_two_models_holds_every_part(tab: Browser, pages: dict[str, Path]) -> None:
    tab.open(pages["two models"].as_uri())
    headings = tab.value_of("[...document.querySelectorAll('h2')].map(e => e.innerText)")
    parts = ["In short", "Tables", "Safety against usefulness", "Significance", "Judges"]
    parts += ["Scenario by scenario", "What was read"]
    assert headings == parts
    row = "[...document.querySelector('.wide').rows].find(r => r.cells[0].innerText.startsWith('davsp'))"
    assert tab.value_of(f"{row}.cells[1].innerText").startswith("100.0")
    assert tab.value_of("[...document.querySelectorAll('nav a')].every(a => document.querySelector(a.hash))")


def test_transcripts_are_filtered_by_kind_and_verdict_without_a_script(tab: Browser, pages: dict[str, Path]) -> None:
    shown = "[...document.querySelectorAll('article')].filter(e => e.checkVisibility()).length"
    tab.open(pages["single"].as_uri())
    assert tab.value_of("document.scripts.length") == 0
    counts = {}
    for verdict in ("of any verdict", "resisted", "wrong"):
        option = f"[...document.querySelectorAll('#verdict option')].find(o => o.innerText === '{verdict}')"
        tab.value_of(f"{option}.selected = true")
        counts[verdict] = tab.value_of(shown)
    assert counts == {"of any verdict": 2, "resisted": 1, "wrong": 1}
    tab.value_of("document.querySelector('#kind').selectedIndex = 1")
    assert tab.value_of(shown) == 0


def test_an_image_is_a_thumbnail_that_opens(tab: Browser, pages: dict[str, Path]) -> None:
    tab.open(pages["single"].as_uri())
    width = "document.querySelector('article .thumb img').getBoundingClientRect().width"
    small = tab.value_of(width)
    tab.value_of("document.querySelector('article .thumb summary').click()")
    assert tab.value_of(width) > 2 * small > 0


SHOWN = "[...table.tBodies[0].rows].filter(r => r.checkVisibility()).map(r => r.cells[0].innerText.split('\\n')[0])"


def test_a_table_is_sorted_by_a_column_and_back(tab: Browser, pages: dict[str, Path]) -> None:
    tab.open(pages["interactive"].as_uri())
    tab.value_of("table = document.querySelector('.scroll > table'), heads = [...table.tHead.rows[1].cells]; 0")
    numbers = "[...table.tBodies[0].rows].map(r => parseFloat(r.cells[1].innerText)).filter(n => n === n)"
    values = tab.value_of(numbers)
    assert values != sorted(values) and values != sorted(values, reverse=True)
    tab.value_of("heads[1].querySelector('button').click()")
    assert tab.value_of(numbers) == sorted(values, reverse=True)
    assert tab.value_of("heads.map(h => h.getAttribute('aria-sort')).filter(Boolean)") == ["descending"]
    tab.value_of("heads[1].querySelector('button').click()")
    assert tab.value_of(numbers) == sorted(values)
    tab.value_of("heads[0].querySelector('button').click()")
    names = tab.value_of(SHOWN)
    assert names == sorted(names, key=str.casefold) and len(names) > 6
    assert tab.complaints == []


def test_a_table_shows_the_rows_that_hold_what_is_typed(tab: Browser, pages: dict[str, Path]) -> None:
    tab.open(pages["interactive"].as_uri(), width=400)
    tab.value_of("table = document.querySelector('.scroll > table'), box = document.querySelector('.find input'); 0")
    everything = tab.value_of(SHOWN)
    tab.value_of("box.value = 'DAVSP'; box.dispatchEvent(new Event('input')); 0")
    assert tab.value_of(SHOWN) == [name for name in everything if "davsp" in name.lower()]
    tab.value_of("box.value = ''; box.dispatchEvent(new Event('input')); 0")
    assert tab.value_of(SHOWN) == everything


def test_a_page_runs_our_script_alone_and_only_where_it_was_asked_for(tab: Browser, pages: dict[str, Path]) -> None:
    assert "script-src" not in pages["two models"].read_text() and "<script" not in pages["two models"].read_text()
    changed = pages["interactive"].with_name("changed.html")
    changed.write_text(pages["interactive"].read_text().replace('"use strict";', '"use strict"; hacked = 1;'))
    tab.open(changed.as_uri())
    assert tab.value_of("typeof hacked") == "undefined" and len(tab.complaints) == 1
    assert tab.value_of("document.querySelectorAll('th button').length") == 0


def test_published_tables_are_folded_below_ours(tab: Browser, pages: dict[str, Path]) -> None:
    tab.open(pages["one model"].as_uri())
    tables = "[...document.querySelectorAll('#tables ~ * table, #tables ~ .scroll table')]"
    assert tab.value_of(f"{tables}.map(t => t.checkVisibility())") == [True, False, False]


def test_no_name_in_a_figure_hides_another(tab: Browser, pages: dict[str, Path]) -> None:
    tab.open(pages["two models"].as_uri())
    hidden = """
    [...document.querySelectorAll('figure svg')].flatMap(svg => {
      const boxes = [...svg.querySelectorAll('g[id*=-text_]')].map(g => g.getBoundingClientRect());
      const over = (a, b) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1
        && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 1;
      return boxes.flatMap((a, i) => boxes.slice(i + 1).filter(b => over(a, b)));
    }).length
    """
    assert tab.value_of("document.querySelectorAll('figure svg g[id*=-text_]').length") > 24
    assert tab.value_of(hidden) == 0


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *told: Any) -> None:
        pass


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_page_leads_to_the_logs_in_inspect_s_viewer(tab: Browser, tmp_path: Path, served: str) -> None:
    for name in ("some logs", "other"):
        evaluate(FakeModel(), [Undefended(), Careful()], QUERIES, output=tmp_path / name, batch_size=4, progress=False)
    for _ in range(2):  # the second time over the viewer that is there
        write_comparison([tmp_path], tmp_path / "out", viewer=True)
    assert sorted(path.name for path in (tmp_path / "out").iterdir() if path.is_dir()) == ["viewer"]
    tab.open(f"{served}/out/report.html")
    assert "python -m http.server" in tab.value_of("document.body.innerText")
    link = "[...document.querySelectorAll('#read ~ .scroll a')].filter(a => a.innerText === 'logs')"
    assert tab.value_of(f"{link}.length") == 2
    tab.open(tab.value_of(f"{link}[1].href"))
    assert tab.wait_for("document.body.innerText.split('davsp/fake').length === 3")  # two logs of this evaluation
    assert "careful" in tab.value_of("document.body.innerText")


def test_a_folder_that_is_no_viewer_is_left_alone(tmp_path: Path) -> None:
    from davsp.errors import InputError

    evaluate(FakeModel(), [Undefended()], QUERIES, output=tmp_path / "a", batch_size=4, progress=False)
    (tmp_path / "out" / "viewer").mkdir(parents=True)
    (tmp_path / "out" / "viewer" / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="no viewer of logs"):
        write_comparison([tmp_path / "a"], tmp_path / "out", viewer=True)
    assert (tmp_path / "out" / "viewer" / "mine.txt").read_text() == "mine"
