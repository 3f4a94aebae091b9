"""Where else the records of a training go; TensorBoard's are read back in test_trainer.py."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from davsp.errors import InputError
from davsp.training.tracking import PROJECT, tracked

RECORDS: list[dict[str, Any]] = [
    {"step": 0, "validation": {"refused": 0.25}},
    {"step": 1, "loss": 2.0},
    {"step": 2, "loss": 1.5},
]


def test_trackio_keeps_every_record_of_the_run_under_its_stage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    monkeypatch.setenv("GRADIO_ANALYTICS_ENABLED", "False")
    pytest.importorskip("trackio", reason="trackio is not installed: pip install 'davsp[trackio]'")
    from trackio.sqlite_storage import SQLiteStorage

    for records in (RECORDS[:2], RECORDS[2:]):  # a run that was stopped goes on
        with tracked(tmp_path / "prompt", trackio=True) as report:
            for record in records:
                report(record)
    logs = SQLiteStorage.get_logs(PROJECT, "prompt")
    assert [(log["step"], log.get("validation/refused"), log.get("training/loss")) for log in logs] == [
        (0, 0.25, None),
        (1, None, 2.0),
        (2, None, 1.5),
    ]
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(("name", "module"), [("tensorboard", "torch.utils.tensorboard"), ("trackio", "trackio")])
def test_a_tracker_that_is_not_installed_is_named(
    name: str, module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InputError, match=r"not installed\. Run: pip install"), tracked(tmp_path, **{name: True}):
        pass
