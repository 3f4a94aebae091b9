"""Stand-ins for the paper's benchmarks: read as the real ones are, with nothing in both training and test."""

from __future__ import annotations

from pathlib import Path

import pytest

from davsp import reproduction
from davsp.testbed.stand_ins import draw_stand_ins
from tests.command_line import run


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_stand_ins(tmp_path_factory.mktemp("stand-ins") / "data")


def read(data: Path) -> reproduction.PaperData:
    return reproduction.read_paper_data(data, reproduction.plan_reproduction("table1", without=["adashield-a"]))


def test_nothing_that_the_first_table_needs_is_missing(data: Path) -> None:
    found = read(data)
    assert found.missing == []
    assert len(found.training) + len(found.checks) == 3 * 200 + 100
    assert [len(test.queries) for test in found.tests] == [60, 60, 60, 50]
    assert not any(test.loaded.dropped for test in found.tests)
    assert all(found.corpora.values())


def test_no_request_is_both_trained_on_and_measured_on(data: Path) -> None:
    found = read(data)
    trained = {query.metadata["request"] for query in [*found.training, *found.checks] if query.malicious}
    measured = {query.metadata["request"] for test in found.tests for query in test.queries}
    assert len(trained) == 48 and len(measured) > 48 and not trained & measured


def test_the_same_seed_draws_the_same_files(data: Path, tmp_path: Path) -> None:
    again = draw_stand_ins(tmp_path / "data")
    names = sorted(file.relative_to(data) for file in data.rglob("*") if file.is_file())
    assert len(names) > 900
    assert all((again / name).read_bytes() == (data / name).read_bytes() for name in names)


def test_a_folder_that_is_there_is_left_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    status, _, told = run(monkeypatch, capsys, "testbed", "paper", "--out", tmp_path)
    assert status == 2 and "is there already" in told and list(tmp_path.iterdir()) == []
