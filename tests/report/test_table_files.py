"""Tables as Markdown, LaTeX and CSV."""

import csv
import io
import re
from pathlib import Path

from davsp.report.collect import collect
from davsp.report.csv_files import tables_csv
from davsp.report.latex import latex
from davsp.report.markdown import markdown
from davsp.report.tables import tables
from tests.evaluations import FOUR, R, write_evaluation, write_model


def test_names_cannot_break_out_of_any_kind_of_table(tmp_path: Path) -> None:
    evil = "a|b<i>&_$\\%"
    write_evaluation(tmp_path / "a", FOUR, {evil: [R, R, R, R]}, model=evil)
    [table] = tables(collect([tmp_path]))
    assert r"| a\|b&lt;i>&amp;\_$\\% |" in markdown([table])
    assert r"a\textbar{}b\textless{}i\textgreater{}\&\_\$\textbackslash{}\% & " in latex([table])
    [row] = csv.DictReader(io.StringIO(tables_csv([table])))
    assert (row["defence"], row["model"], row["a (RSR, %): value"]) == (evil, evil, "100.0")


def test_every_line_of_a_latex_table_has_as_many_cells(tmp_path: Path) -> None:
    text = latex(tables(collect([write_model(tmp_path, "llava-hf/llava-1.5-13b-hf", 6)])))
    spec = re.findall(r"\\begin\{tabular\}\{(.*?)\}", text)
    assert spec == ["l" + "c" * 9, "l" + "c" * 7]
    lines = [
        line for line in text.split("\\end{tabular}")[0].splitlines() if line.endswith("\\\\") and "multi" not in line
    ]
    assert {len(re.findall(r"(?<!\\)&", line)) for line in lines} == {9}
    assert text.count("{") == text.count("}")


def test_markdown_tables_are_rectangular(tmp_path: Path) -> None:
    text = markdown(tables(collect([write_model(tmp_path, "some/model", 3)])))
    blocks = [block.splitlines() for block in text.split("\n\n") if block.startswith("|")]
    assert [{len(re.findall(r"(?<!\\)\|", line)) for line in block} for block in blocks] == [{11}, {9}, {9}]
