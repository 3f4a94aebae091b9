"""The whole loop from Python, as a notebook or a script goes through it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import davsp
from davsp.data.query import Query
from davsp.errors import ArtefactError, InputError
from davsp.models.base import VisionLanguageModel
from davsp.report.inputs import read_inputs

Two = tuple[list[Query], list[Query]]
FEW = {"steps": 2, "batch_size": 4, "validate_every": 2, "validation_answers": 2, "progress": False}


@pytest.fixture(scope="module")
def test_queries() -> list[Query]:
    return davsp.load_queries("testbed", split="test", per_group=1)


@pytest.fixture(scope="module")
def prompt(
    model: VisionLanguageModel, queries: Two, tmp_path_factory: pytest.TempPathFactory
) -> davsp.VisualSafetyPrompt:
    out = tmp_path_factory.mktemp("runs") / "mine"
    return davsp.train(model, queries[0], validation=queries[1], out=out, **FEW)  # type: ignore[arg-type]


def test_what_is_public_is_listed_exists_and_needs_no_torch_to_be_imported() -> None:
    assert set(davsp.__all__) <= set(dir(davsp))
    assert all(getattr(davsp, name).__doc__ for name in davsp.__all__)
    code = "import sys, davsp; assert not {'torch', 'transformers'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        davsp.nothing  # noqa: B018


def test_evaluate_stays_the_function_whatever_is_imported() -> None:
    import davsp.evaluation.run

    assert callable(davsp.evaluate)
    assert callable(davsp.train)


def test_queries_come_from_files_lists_and_the_testbed(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    record = {"image": "a.png", "question": "What?", "malicious": False}
    (tmp_path / "q.jsonl").write_text(json.dumps(record) + "\n")
    from_file = davsp.load_queries(tmp_path / "q.jsonl")
    assert [q.question for q in from_file] == ["What?"]
    assert davsp.load_queries(str(tmp_path)) == davsp.load_queries(from_file) == from_file
    train, validation, test = (
        davsp.load_queries("testbed@112", split=split, per_group=2) for split in ("train", "validation", "test")
    )
    ids = [{q.id for q in part} for part in (train, validation, test)]
    assert not ids[0] & ids[1] and not ids[1] & ids[2] and not ids[0] & ids[2]
    assert all(isinstance(q.image, Image.Image) and q.image.size == (112, 112) for q in train)
    with pytest.raises(InputError, match="has no split 'all'"):
        davsp.load_queries("testbed", split="all")


@pytest.mark.slow
def test_a_trained_prompt_is_saved_loaded_and_gone_on_with(
    prompt: davsp.VisualSafetyPrompt, model: VisionLanguageModel, queries: Two, tmp_path: Path
) -> None:
    assert prompt.name == "mine"
    prompt.save(str(tmp_path / "again"))  # as a user writes it: folders are paths or texts
    loaded = davsp.load_defence(str(tmp_path / "again"))
    assert isinstance(loaded, davsp.VisualSafetyPrompt)
    assert loaded.identity == prompt.identity
    with pytest.raises(InputError, match="stepz"):
        davsp.train(model, queries[0], stepz=3)
    with pytest.raises(InputError, match="1 models and 2 vectors"):
        vectors = [davsp.extract_vector(model, *queries, prefix="")] * 2
        vectors[0].save(str(tmp_path / "vector"))
        assert davsp.HarmfulnessVector.load(str(tmp_path / "vector")).layer == vectors[0].layer
        davsp.train(model, queries[0], validation=queries[1], vectors=vectors, out=tmp_path / "x", **FEW)  # type: ignore[arg-type]


@pytest.mark.slow
def test_defences_are_compared_and_shown_as_text_frame_page_and_html(
    prompt: davsp.VisualSafetyPrompt, model: VisionLanguageModel, test_queries: list[Query], tmp_path: Path
) -> None:
    evaluation = davsp.evaluate(
        model, test_queries, [None, prompt, "adashield-s"], max_new_tokens=8, progress=False, out=tmp_path / "eval"
    )
    names = ["none", "mine", "adashield-s"]
    assert list(evaluation.results.defences) == names
    text = evaluation.table(width=200)
    assert all(name in text for name in names)
    assert max(map(len, text.splitlines())) <= 200
    frame = evaluation.to_pandas()
    assert set(frame.columns) == {"defence", "measure", "kind", "rate", "n", "low", "high", "unscored", "blocked"}
    together = frame[(frame.kind == "all") & (frame.measure == "rsr")]
    kinds = frame[(frame.kind != "all") & (frame.measure == "rsr")]
    assert together.n.sum() == kinds.n.sum() == 15
    page = evaluation.report(tmp_path / "copy" / "page.html").read_text()
    assert page == evaluation.report().read_text()
    assert "data:image/png;base64," in page
    assert all(f">{name}</th>" in evaluation._repr_html_() for name in names)
    assert davsp.Evaluation.load(tmp_path / "eval").results == evaluation.results


@pytest.mark.slow
def test_the_page_shows_one_prompt_whose_name_stands_by_its_border_projections_and_training(
    prompt: davsp.VisualSafetyPrompt, model: VisionLanguageModel, test_queries: list[Query], tmp_path: Path
) -> None:
    from davsp.training.run_state import read_metrics

    prompt.save(tmp_path / "first")
    (tmp_path / "first" / "metrics.jsonl").write_text('{"step": 1, "malicious_alignment_loss": 7.0}\n')
    replace(prompt, name="second").save(tmp_path / "second")
    (tmp_path / "second" / "metrics.jsonl").write_text('{"step": 1, "malicious_alignment_loss": 2.0}\n')
    folders = [str(tmp_path / name) for name in ("first", "second")]
    out = tmp_path / "eval"
    davsp.evaluate(model, test_queries[:4], folders, max_new_tokens=4, progress=False, out=out)
    inputs = read_inputs(out)
    assert inputs.prompt == "second"
    assert prompt.training is not None
    assert (inputs.layers, inputs.thresholds) == (
        [prompt.training.layer],
        (prompt.training.tau_plus, prompt.training.tau_minus),
    )
    assert inputs.training == read_metrics(tmp_path / "second")
    page = (out / "report.html").read_text()
    for heading in ("The border of second", "Training of second", "Projections before and after second"):
        assert heading in page


@pytest.mark.slow
def test_the_first_defence_does_not_pay_for_what_a_model_does_but_once(
    model: VisionLanguageModel, test_queries: list[Query], monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = [0.5]
    respond = model.respond

    def first_is_slow(*arguments: Any) -> Any:
        time.sleep(slow.pop() if slow else 0)
        return respond(*arguments)

    monkeypatch.setattr(model, "respond", first_is_slow)
    evaluation = davsp.evaluate(model, test_queries[:2], [None, "prefix"], max_new_tokens=4, progress=False)
    cost = evaluation.results.cost["none"]
    assert cost.seconds is not None and cost.seconds < 0.25


@pytest.mark.slow
def test_without_a_folder_results_last_as_long_as_they_are_held(
    model: VisionLanguageModel, test_queries: list[Query]
) -> None:
    evaluation = davsp.evaluate(model, test_queries[:2], max_new_tokens=4, progress=False)
    folder = evaluation.folder
    assert evaluation.report().is_file()
    del evaluation
    assert not folder.exists()


def test_a_defence_of_another_model_is_refused_unless_it_is_to_be_transferred(
    prompt: davsp.VisualSafetyPrompt, test_queries: list[Query]
) -> None:
    other = davsp.load_model("testbed-qwen2vl")
    with pytest.raises(ArtefactError, match="was trained for testbed"):
        davsp.evaluate(other, test_queries, [prompt])
    with pytest.raises(ArtefactError, match="was trained for testbed"):
        davsp.ask(other, Image.new("RGB", (8, 8)), "What?", prompt)


def test_notebooks_show_the_border_and_escape_what_a_user_named(prompt: davsp.VisualSafetyPrompt) -> None:
    html = replace(prompt, name="<b>", prefix="a < b")._repr_html_()
    assert "data:image/png;base64," in html
    assert "&lt;b&gt;, for testbed" in html
    assert "a &lt; b" in html


@pytest.mark.slow
def test_a_prompt_that_is_not_kept_in_a_folder_is_called_prompt(model: VisionLanguageModel, queries: Two) -> None:
    made = [davsp.extract_vector(model, *queries, prefix="")]
    trained = davsp.train(model, queries[0], validation=queries[1], vectors=made, prefix="", **FEW)  # type: ignore[arg-type]
    assert trained.name == "prompt"


def test_queries_without_answers_are_trained_towards_the_models_own(
    model: VisionLanguageModel, queries: Two, tmp_path: Path
) -> None:
    training, validation = ([replace(query, answer=None) for query in side] for side in queries)
    davsp.train(model, training, validation=validation, out=tmp_path, **FEW)  # type: ignore[arg-type]
    own = json.loads((tmp_path / "own_answers.json").read_text())["answers"]
    asked = next(query for query in training if not query.malicious)
    assert own[asked.id]["text"] == model.generate([asked], 24)[0]
    assert set(own) == {query.id for query in [*training, *validation]}
