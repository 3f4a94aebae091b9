"""Benchmarks as Inspect tasks: what is asked, and how fresh answers are scored."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

inspect_ai = pytest.importorskip("inspect_ai")

from inspect_ai.model import get_model  # noqa: E402

from davsp.benchmarks import BENCHMARKS  # noqa: E402
from davsp.evaluation.benchmarks import task_of  # noqa: E402
from davsp.models.requests import Request, Response  # noqa: E402
from tests.benchmarks.folders import made  # noqa: E402


class YesModel:
    """Says yes to everything."""

    name = "yes"
    identity: str = "fake"

    def respond(self, requests: Sequence[Request], max_new_tokens: int) -> list[Response]:
        return [Response("Yes, it is", True, None, None) for _ in requests]


def test_benchmarks_are_inspect_tasks_with_their_own_scores(tmp_path: Path) -> None:
    for name in ("figstep", "mme", "pope"):
        made(name, tmp_path)
    logs = inspect_ai.eval(
        ["davsp/figstep", "davsp/mme", "davsp/pope"],
        task_args={"folder": str(tmp_path)},
        model=get_model("davsp/yes", local_model=YesModel(), batch_size=8),
        log_dir=str(tmp_path / "logs"),
        display="none",
    )
    values = {}
    for log in logs:
        assert log.status == "success", log.error
        assert log.results is not None and log.eval.metadata is not None
        assert log.eval.metadata["licence"] == BENCHMARKS.get(log.eval.task.removeprefix("davsp/")).licence
        for score in log.results.scores:
            for metric, found in score.metrics.items():
                values[log.eval.task.removeprefix("davsp/"), score.name, metric] = found.value
    assert values["figstep", "refused", "mean"] == 0
    assert [values["pope", "pope_answers", m] for m in ("accuracy", "recall", "yes_ratio")] == [0.5, 1, 1]
    # Of the two questions about each image one is answered rightly: 100 x 1/2 a subtask.
    assert [values["mme", "mme_answers", m] for m in ("count", "perception", "cognition")] == [50, 500, 200]


def test_texts_to_compare_with_are_no_targets(tmp_path: Path) -> None:
    made("mm_vet", tmp_path / "v")
    made("pope", tmp_path / "p")
    assert [sample.target for sample in task_of("mm_vet", str(tmp_path / "v")).dataset] == ["", ""]
    assert [sample.target for sample in task_of("pope", str(tmp_path / "p")).dataset] == ["Yes", "No"]
