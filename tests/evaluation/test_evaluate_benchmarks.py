"""`davsp evaluate` on benchmarks: official scores of fresh answers, what is refused before a run, what is kept."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from davsp.benchmarks import llava_bench, mm_vet, mme
from davsp.benchmarks.base import BenchmarkAnswer
from davsp.benchmarks.selection import BenchmarkSelection
from davsp.defences.textual import Undefended
from davsp.errors import InputError
from davsp.models.requests import Request, Response

inspect_ai = pytest.importorskip("inspect_ai")

from inspect_ai.model import get_model  # noqa: E402

from davsp.evaluation.benchmarks import task_of  # noqa: E402
from davsp.evaluation.plan import choose, plan_of  # noqa: E402
from davsp.evaluation.run import evaluate  # noqa: E402
from davsp.judges import Rules  # noqa: E402
from davsp.judges.judgement import request_of  # noqa: E402
from davsp.judges.llm import LLM  # noqa: E402
from tests.benchmarks.folders import made, picture, table  # noqa: E402
from tests.command_line import run as run_davsp  # noqa: E402
from tests.evaluation.fakes import transcripts  # noqa: E402
from tests.judges.mocks import mock  # noqa: E402


class Says:
    """Answers what a function makes of the question; remembers the questions."""

    name = "says"
    identity: str = "fake"

    def __init__(self, answer: str | Callable[[str], str]) -> None:
        self.answer = answer
        self.asked: list[str] = []

    def respond(self, requests: Sequence[Request], max_new_tokens: int) -> list[Response]:
        self.asked += [request.question for request in requests]
        said = [self.answer if isinstance(self.answer, str) else self.answer(r.question) for r in requests]
        return [Response(text, True, 1, 1) for text in said]


def run(
    chosen: BenchmarkSelection, out: Path, answer: str | Callable[[str], str] = "Yes, it is", **options: Any
) -> Any:
    options = {"batch_size": 8, "progress": False, "benchmark": chosen, **options}
    model = answer if isinstance(answer, Says) else Says(answer)
    return evaluate(model, [Undefended()], chosen.queries, output=out, **options).to_json()


def value(results: Any, figure: str) -> float:
    return float(results["scores"]["none"][figure]["value"])


# --- official scores


def test_mme_is_scored_by_its_calculator_and_its_rule_says_what_is_right(tmp_path: Path) -> None:
    results = run(BenchmarkSelection.of("mme", made("mme", tmp_path)), tmp_path / "out")
    # Of the two questions about each image one is answered rightly: 100 x 1/2 a subtask.
    assert [value(results, name) for name in ("count", "count/acc", "count/acc_plus")] == [50, 0.5, 0]
    assert (value(results, "perception"), value(results, "cognition")) == (500, 200)
    rates = results["defences"]["none"]["benign_accuracy"]
    assert {rate["rate"] for rate in rates.values()} == {0.5}, "rates and scores agree"
    assert results["scores"]["none"]["count/acc"]["interval"] == "wilson"
    assert any("count: 2 of 60 answers" in note for note in results["benchmark"]["notes"])
    assert json.loads((tmp_path / "out/results.json").read_text()) == results


def test_an_answer_that_is_missing_leaves_its_pair_out_of_mme(tmp_path: Path) -> None:
    chosen = BenchmarkSelection.of("mme", made("mme", tmp_path))
    silent = iter([" "])
    results = run(chosen, tmp_path / "out", lambda question: next(silent, "Yes"))
    assert results["unscored"] == {"none": 1}
    assert sum(figure["n"] for name, figure in results["scores"]["none"].items() if name.endswith("/acc")) == 26
    assert any("1 answers are left out: the other of their pair" in note for note in results["benchmark"]["notes"])


def test_pope_has_its_five_figures_and_its_rule_says_what_is_right(tmp_path: Path) -> None:
    results = run(BenchmarkSelection.of("pope", made("pope", tmp_path), "random"), tmp_path / "out", "There is not.")
    assert {"accuracy", "recall", "yes_ratio"} <= results["scores"]["none"].keys()
    assert (value(results, "accuracy"), value(results, "yes_ratio")) == (0.5, 0)
    assert results["defences"]["none"]["benign_accuracy"]["random"]["rate"] == 0.5
    assert any("there is no precision" in note for note in results["benchmark"]["notes"])


def graded(name: str, folder: Path, said: str, answer: str = "one") -> Any:
    return run(
        BenchmarkSelection.of(name, made(name, folder)), folder / "out", answer, judge=LLM(mock(by_prompt(said)))
    )


def by_prompt(grade: str) -> Callable[[list[Any]], str]:
    """A judge that finds no refusal, and as a grader says this."""
    return lambda messages: "VERDICT: NO" if '"verdict"' in messages[0].text else grade


def test_mm_vet_is_graded_against_its_references_and_they_are_no_answers_to_equal(tmp_path: Path) -> None:
    prompts: list[str] = []

    def grade(messages: list[Any]) -> str:
        prompts.append(messages[-1].text)
        return by_prompt("0.5")(messages)

    chosen = BenchmarkSelection.of("mm_vet", made("mm_vet", tmp_path))
    results = run(chosen, tmp_path / "out", "one", judge=LLM(mock(grade)))
    assert sum("1<OR>one" in prompt for prompt in prompts) == 2
    assert {name: value(results, name) for name in ("total", "math", "ocr")} == {"total": 50, "math": 50, "ocr": 50}
    assert results["defences"]["none"]["benign_accuracy"] == {}
    record = json.loads((tmp_path / "out/transcripts.jsonl").read_text().splitlines()[0])
    assert (record["reference"], record["answers"]["none"]["verdict"]) == ("1<OR>one", "answered")


def test_llava_bench_is_reviewed_beside_its_references(tmp_path: Path) -> None:
    results = graded("llava_bench", tmp_path, "8 6\nFine.")
    assert {name: value(results, name) for name in ("all", "conv", "detail")} == {"all": 75, "conv": 75, "detail": 75}


@pytest.mark.parametrize("name", ["mm_vet", "llava_bench"])
def test_an_answer_graded_in_prose_is_unscored_and_in_no_figure(name: str, tmp_path: Path) -> None:
    results = graded(name, tmp_path, "Rather good.")
    assert (results["scores"], results["unscored"]) == ({"none": {}}, {"none": 2})
    said = next(iter(transcripts(tmp_path / "out").values()))["none"]
    assert said["verdict"] == "unscored" and "gave no verdict: 'Rather good.'" in said["error"]


def test_what_a_grader_failed_at_is_asked_again_by_the_same_command(tmp_path: Path) -> None:
    chosen = BenchmarkSelection.of("mm_vet", made("mm_vet", tmp_path))
    down = mock(ConnectionError("down"))
    assert run(chosen, tmp_path / "out", judge=LLM(down))["unscored"] == {"none": 2}
    assert value(run(chosen, tmp_path / "out", judge=LLM(mock(by_prompt("1.0")))), "total") == 100


def test_without_a_grader_nothing_is_generated(tmp_path: Path) -> None:
    chosen, model = BenchmarkSelection.of("mm_vet", made("mm_vet", tmp_path)), Says("one")
    with pytest.raises(InputError, match="grades every answer, and none is bound"):
        run(chosen, tmp_path / "out", model)  # type: ignore[arg-type]
    assert not model.asked and not (tmp_path / "out").exists()


def test_a_benchmark_of_safety_has_no_official_figures_and_says_where_it_is_from(tmp_path: Path) -> None:
    results = run(
        BenchmarkSelection.of("figstep", made("figstep", tmp_path)), tmp_path / "out", "I cannot help with that."
    )
    assert results["scores"] == {}
    assert results["defences"]["none"]["rsr"]["Illegal Activity"]["rate"] == 1.0
    told = results["benchmark"]
    assert (told["name"], told["variant"], told["purpose"], told["published"]) == ("figstep", "full", "safety", 500)


def described(name: str, folder: Path, file: str, **columns: str) -> Path:
    """The made-up folder of a benchmark, with columns added to one of its tables."""
    path = made(name, folder) / file
    [row] = csv.DictReader(path.read_text().splitlines())
    table(path, row | columns)
    return folder


def test_a_judge_reads_the_plain_request_where_the_published_files_have_it(tmp_path: Path) -> None:
    behaviours = "data/behavior_datasets/harmbench_behaviors_multimodal_all.csv"
    folders = {
        "mm_safetybench": made("mm_safetybench", tmp_path / "1"),
        "figstep": made("figstep", tmp_path / "2"),
        "jailbreakv": made("jailbreakv", tmp_path / "3"),
        "harmbench": described("harmbench", tmp_path / "4", behaviours, ImageDescription="A pot."),
        "msts": described(
            "msts", tmp_path / "5", "data/prompts/english_multimodal.csv", unsafe_image_description="A cup"
        ),
        "siuo": made("siuo", tmp_path / "6"),
    }
    assert {name: request_of(BenchmarkSelection.of(name, folder).queries[0]) for name, folder in folders.items()} == {
        "mm_safetybench": "How is tea made?",
        "figstep": "?",
        "jailbreakv": "Tell of tea.",
        "harmbench": "Describe tea.\n[The image shows: A pot.]",
        "msts": "Should I drink this?\n[The image shows: A cup]",
        "siuo": "How long to steep?",
    }


# --- the choice, and what it will cost


def test_a_choice_keeps_whole_pairs_of_mme(tmp_path: Path) -> None:
    chosen = BenchmarkSelection.of("mme", made("mme", tmp_path))
    kept = choose(chosen.queries, per_group=1, limit=5)
    assert [query.id for query in kept] == [
        f"{subtask}/1.jpg/{gold}" for subtask in ("existence", "count") for gold in ("yes", "no")
    ]


def test_the_plan_counts_answers_judging_and_grading(tmp_path: Path) -> None:
    chosen = BenchmarkSelection.of("mm_vet", made("mm_vet", tmp_path))
    plan = plan_of(chosen.title, chosen.queries, 3, LLM(mock("0.5")), 10, chosen.benchmark)
    assert [(cost.calls, cost.tokens_out) for cost in plan.costs] == [(6, 1800), (6, 48)]
    assert "MM-Vet, all: 2 queries, 3 defences: 6 answers to be generated. Judge llm (mockllm/model): 6" in str(plan)
    assert plan_of("x", chosen.queries, 1, Rules(), 10).costs == ()


# --- an interrupted run


def test_ctrl_c_keeps_what_was_answered_and_the_same_call_goes_on(tmp_path: Path) -> None:
    made("pope", tmp_path)
    record = {"image": "COCO_1.jpg", "text": "Is there a cup?", "label": "yes"}
    lines = [json.dumps(record | {"question_id": number}) for number in range(40)]
    (tmp_path / "coco/coco_pope_random.json").write_text("\n".join(lines))
    chosen = BenchmarkSelection.of("pope", tmp_path, "random")

    class Interrupted(Says):
        interrupted = False

        def respond(self, requests: Sequence[Request], max_new_tokens: int) -> list[Response]:
            if len(self.asked) >= 20 and not self.interrupted:  # a second Ctrl-C would not wait for what is written
                self.interrupted = True
                os.kill(os.getpid(), signal.SIGINT)
            return super().respond(requests, max_new_tokens)

    with pytest.raises(KeyboardInterrupt):
        run(chosen, tmp_path / "out", Interrupted("Yes"), batch_size=2)  # type: ignore[arg-type]
    assert not (tmp_path / "out/results.json").exists()
    again = Says("Yes")
    results = run(chosen, tmp_path / "out", again, batch_size=2)  # type: ignore[arg-type]
    # Four are in work at a time; the answers of those, and of some that were being written down, may be lost.
    assert 0 < len(again.asked) <= 32
    assert value(results, "accuracy") == 1 and results["scores"]["none"]["accuracy"]["n"] == 40


# --- the command line


def command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: object
) -> tuple[int, str, str]:
    return run_davsp(monkeypatch, capsys, "evaluate", "--max-new-tokens", "4", *arguments)


def test_every_benchmark_has_a_folder_of_results_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    figstep, mme, out = made("figstep", tmp_path / "f"), made("mme", tmp_path / "m"), tmp_path / "out"
    arguments = ("--out", out, "--benchmark", f"figstep:full={figstep}", "--benchmark", f"mme={mme}")
    status, printed, err = command(monkeypatch, capsys, *arguments, "--defence", "prefix", "--limit", 2)
    assert status == 0, err
    assert {path.name for path in out.iterdir() if path.is_dir()} == {"figstep-full", "mme-all"}
    assert {"report.html", "tables.md", "tables.tex", "tables.csv"} <= {path.name for path in out.iterdir()}
    for folder in (out / "figstep-full", out / "mme-all"):
        assert {"results.json", "transcripts.jsonl", "report.html", "logs"} <= {path.name for path in folder.iterdir()}
    results = json.loads((out / "mme-all/results.json").read_text())
    assert results["queries"] == 2 and list(results["defences"]) == ["none", "prefix"]
    assert set(results["scores"]["none"]["existence"]) == {"value", "n", "low", "high", "interval"}
    assert "existence/acc" in printed
    assert "counts are not the published ones, the first: 2 of 500 queries" in err
    assert "MME, all: 2 queries, 2 defences: 4 answers to be generated." in err
    assert command(monkeypatch, capsys, *arguments, "--defence", "prefix", "--limit", 2)[0] == 0
    assert len(list((out / "mme-all/logs").glob("*.eval"))) == 2, "nothing was asked again"
    (out / "results.json").write_text("{}")
    status, _, err = command(monkeypatch, capsys, *arguments)
    assert status == 2 and "an evaluation of other queries" in err


def test_what_was_dropped_is_said_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = made("figstep", tmp_path / "f")
    gone = folder / "data/images/SafeBench/query_ForbidQI_1_2_6.png"
    gone.write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    status, _, err = command(
        monkeypatch, capsys, "--out", tmp_path / "out", "--benchmark", f"figstep={folder}", "--limit", 1
    )
    assert status == 0
    assert "FigStep, full: 1 queries dropped, the first: query_ForbidQI_1_2_6" in err and "git lfs pull" in err
    [line] = json.loads((tmp_path / "out/figstep-full/results.json").read_text())["benchmark"]["dropped"]
    assert "Git LFS pointer" in line


def test_a_judge_that_answers_in_prose_leaves_all_unscored_and_a_loud_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = made("figstep", tmp_path / "m")
    monkeypatch.setattr("inspect_ai.model.get_model", lambda *_, **__: mock("Hard to say."))
    judge = ("--judge", "llm", "--judge-model", "mockllm/model")
    arguments = ("--out", tmp_path / "out", "--benchmark", f"figstep={folder}", *judge)
    status, _, err = command(monkeypatch, capsys, *arguments)
    assert status == 1, "nothing was measured"
    assert "none: not one of 2 answers has a verdict; of the first: the judge gave no verdict" in err
    assert "Judge llm (mockllm/model): 2 calls" in err
    assert "WARNING: FigStep, full: none has 2 of 2 answers unscored (100.0 %)" in err
    for said in transcripts(tmp_path / "out/figstep-full").values():
        assert "the judge gave no verdict" in said["none"]["error"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--benchmark", "mmbench"), "there is no benchmark 'mmbench'"),
        (("--benchmark", "figstep:best=here"), "has no variant 'best'"),
        (("--benchmark", "figstep=nowhere"), "is no folder"),
        (("--benchmark", "figstep=here"), "Is it the right folder, and downloaded as a whole?"),
        (("--benchmark", "figstep"), "give a local folder"),
        (("--benchmark", "mossbench=moss"), "holds no usable query"),
        (("--benchmark", "xstest=good", "--data", "testbed"), "either --data or --benchmark"),
        (("--benchmark", "xstest=good", "--benchmark", "xstest:all=good"), "asked for twice"),
        (("--benchmark", "mm_vet=vet"), "--judge llm --judge-model"),
        (("--benchmark", "mm_vet=vet", "--judge", "llm"), "none is bound"),
        (("--scoring", "likeness", "--model", "nobody"), "there is no scoring 'likeness'"),
        (("--model", "http://127.0.0.1:9/v1=m"), "no server answers at http://127.0.0.1:9/v1"),
        (("--model", "http://127.0.0.1:9/v1"), "Write URL=NAME"),
        (("--model", "openai-api/nobody/m"), "NOBODY_API_KEY"),
    ],
)
def test_bad_input_is_one_clear_error_before_any_generation(
    arguments: tuple[str, ...],
    told: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    picture(tmp_path / "here/holiday.png")
    made("xstest", tmp_path / "good")
    made("mm_vet", tmp_path / "vet")
    made("mossbench", tmp_path / "moss")
    (tmp_path / "moss/data/images/1.png").unlink()
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NOBODY_API_KEY", raising=False)
    status, _, err = command(monkeypatch, capsys, "--out", "x", *arguments)
    assert status == 2
    assert told in re.sub(r"\s+", " ", err) and "Traceback" not in err
    assert not (tmp_path / "x").exists(), "nothing is half-written"


# --- Inspect's own tasks


def test_inspect_grades_by_the_same_scorer_and_asks_nothing_without_a_grader(tmp_path: Path) -> None:
    made("mm_vet", tmp_path / "vet")
    model = Says("one")
    local = get_model("davsp/says", memoize=False, local_model=model, batch_size=4)

    def log(roles: Any) -> Any:
        logs = inspect_ai.eval(
            task_of("mm_vet", str(tmp_path / "vet")),
            model=local,
            model_roles=roles,
            log_dir=str(tmp_path / "logs"),
            display="none",
            ctl_server=False,
        )
        return logs[0]

    without = log({})
    assert without.status == "error" and "judge" in without.error.message and not model.asked
    scores = {score.name: score for score in log({"judge": mock("0.4")}).results.scores}
    assert scores["mm_vet_grade"].metrics["mean"].value == 0.4
    assert scores["refused"].metrics["mean"].value == 0


# --- the real files


def test_fresh_answers_are_scored_as_published_ones_are(data_folder: Path) -> None:
    answers, grades, reviews = (
        data_folder / "mme/eval_tool/LaVIN",
        data_folder / "llava_eval/mm-vet/results/llava-v1.5-13b_gpt-4-grade-1runs.json",
        data_folder / "llava_eval/llava-bench-in-the-wild/reviews/llava-v1.5-13b-eval1.jsonl",
    )
    if not all(path.exists() for path in (answers, grades, reviews, data_folder / "mm_vet/mm-vet.json")):
        pytest.skip("mme, llava_eval or mm_vet is not in DAVSP_TEST_DATA")
    needed = mm_vet.read_capabilities(data_folder / "mm_vet")
    cases = [
        (
            mme,
            mme.score(found := mme.read_answers(answers)),
            [BenchmarkAnswer(a.subtask, a.gold, a.text, a.image) for a in found],
        ),
        (
            mm_vet,
            mm_vet.score(marks := mm_vet.read_grades(grades), needed),
            [
                BenchmarkAnswer(mm_vet.integration(needed[key]), "", "", marks={"grade": mark})
                for key, [mark] in marks.items()
            ],
        ),
        (
            llava_bench,
            llava_bench.score(points := llava_bench.read_reviews(reviews)),
            [BenchmarkAnswer(kind, "", "", marks={"reference": one, "answer": two}) for kind, one, two in points],
        ),
    ]
    for module, published, said in cases:
        official = module.BENCHMARK.official
        assert official is not None
        figures = official(said).figures
        assert figures
        for name, figure in figures.items():
            assert figure.value == pytest.approx(published.figures[name].value, abs=1e-9)


@pytest.mark.parametrize(
    ("which", "folder", "queries"),
    [("figstep:tiny", "figstep_tiny", 50), ("mossbench", "mossbench", 32), ("xstest:safe", "xstest", 250)],
)
def test_the_real_files_are_ready_to_be_asked(which: str, folder: str, queries: int, data_folder: Path) -> None:
    if not (data_folder / folder).is_dir():
        pytest.skip(f"{folder} is not in DAVSP_TEST_DATA")
    chosen = BenchmarkSelection.named(f"{which}={data_folder / folder}")
    assert len(chosen.queries) == queries
    assert all(query.answer is None for query in chosen.queries)
    if which == "figstep:tiny":
        assert len({query.metadata["request"] for query in chosen.queries}) == 50
