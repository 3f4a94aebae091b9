"""An answer, a vector or a state counts for the model and the queries that it is of, whatever they are called."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from davsp.api import train
from davsp.data.query import Query
from davsp.defences.textual import Undefended
from davsp.errors import ArtefactError, InputError
from davsp.evaluation.run import evaluate
from davsp.models.loading import load_model
from davsp.models.shipped import SHIPPED
from davsp.results import read_results
from davsp.training.jobs import vector_for
from davsp.training.vector import HarmfulnessVector
from tests.evaluation.fakes import QUERIES, FakeModel

Two = tuple[list[Query], list[Query]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the testbed's checkpoint that can be overwritten."""
    return Path(shutil.copytree(SHIPPED["testbed"].folder, tmp_path / "model"))


def merge_something_in(folder: Path) -> None:
    """As merging an adapter does: the same names and shapes, other values in some matrices of the decoder."""
    file = folder / "model.safetensors"
    tensors = load_file(file)
    for name in tensors:
        if "q_proj" in name or "v_proj" in name:
            tensors[name] = tensors[name] * 0.5
    save_file(tensors, file, {"format": "pt"})


def test_a_model_that_was_overwritten_is_asked_again(tmp_path: Path) -> None:
    first, second = FakeModel(), FakeModel()
    second.identity = "overwritten"
    for model in (first, second):
        evaluate(model, [Undefended()], QUERIES, output=tmp_path, progress=False)
    assert len(first.asked) == len(second.asked) == len(QUERIES)
    again = FakeModel()
    again.identity = "overwritten"
    evaluate(again, [Undefended()], QUERIES, output=tmp_path, progress=False)
    assert again.asked == []
    assert read_results(tmp_path).model_identity == "overwritten"


def test_answers_that_other_versions_of_libraries_gave_are_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for transformers, asked in (("5.16", len(QUERIES)), ("5.16", 0), ("5.17", len(QUERIES))):
        monkeypatch.setattr("davsp.evaluation.run.versions_used", lambda found=transformers: {"transformers": found})
        model = FakeModel()
        evaluate(model, [Undefended()], QUERIES, output=tmp_path, progress=False)
        assert len(model.asked) == asked


@pytest.mark.slow
@pytest.mark.parametrize("file", ["chat_template.jinja", "generation_config.json", "tokenizer.json", None])
def test_what_a_models_answers_depend_on_is_in_its_identity(file: str | None, folder: Path) -> None:
    before = load_model(str(folder)).identity
    assert load_model("testbed").identity == before
    assert load_model(str(folder), dtype="bfloat16").identity != before
    if file is None:
        merge_something_in(folder)
    else:
        (folder / file).write_text((folder / file).read_text() + " ")
    assert load_model(str(folder)).identity != before


@pytest.mark.slow
def test_vector_prompt_and_state_of_a_model_that_was_overwritten_are_not_taken(
    folder: Path, queries: Two, tmp_path: Path
) -> None:
    few = {"steps": 1, "batch_size": 4, "validate_every": 1, "validation_answers": 0, "layer": 4, "progress": False}
    prompt = train(load_model(str(folder)), queries[0], validation=queries[1], out=tmp_path / "run", **few)  # type: ignore[arg-type]
    vector = HarmfulnessVector.load(tmp_path / "run" / "vector")
    merge_something_in(folder)
    model = load_model(str(folder))
    with pytest.raises(ArtefactError, match="the vector of another run \\(different: weights\\)"):
        train(model, queries[0], validation=queries[1], out=tmp_path / "run", **few)  # type: ignore[arg-type]
    with pytest.raises(ArtefactError, match=r"does not fit .* \(different: weights\)"):
        train(model, queries[0], validation=queries[1], vectors=[vector], **few)  # type: ignore[arg-type]
    with pytest.raises(ArtefactError, match=r"weights: .* is of the same architecture, but has others"):
        prompt.check(model)


@pytest.mark.slow
def test_a_vector_of_other_queries_is_not_taken(queries: Two, tmp_path: Path) -> None:
    model = load_model("testbed")
    vector_for(model, *queries, "", tmp_path, quiet=True)
    changed = [query.with_question(f"{query.question} .") for query in queries[0]]
    with pytest.raises(ArtefactError, match=r"another run \(different: data\)"):
        vector_for(model, changed, queries[1], "", tmp_path, quiet=True)


@pytest.mark.slow
def test_a_vector_of_another_family_or_prefix_is_refused(queries: Two) -> None:
    llava, qwen = load_model("testbed"), load_model("testbed-qwen2vl")
    vector = vector_for(llava, *queries, "be careful .", None, quiet=True)
    vector.check(llava, "be careful .")
    with pytest.raises(ArtefactError, match=r"made for testbed and does not fit testbed-qwen2vl \(different: family"):
        vector.check(qwen, "be careful .")
    with pytest.raises(ArtefactError, match=r"made with the prefix 'be careful \.', and the prompt is to have ''"):
        vector.check(llava, "")
    replace(vector, origin={"file": "harmfulness_vector.pt"}).check(qwen, "")


def test_a_finished_evaluation_of_other_queries_is_not_overwritten(tmp_path: Path) -> None:
    evaluate(FakeModel(), [Undefended()], QUERIES, output=tmp_path, progress=False)
    kept = (tmp_path / "results.json").read_bytes()
    with pytest.raises(InputError, match="holds a finished evaluation of other queries"):
        evaluate(FakeModel(), [Undefended()], QUERIES[:2], output=tmp_path, progress=False)
    assert (tmp_path / "results.json").read_bytes() == kept
    evaluate(FakeModel(), [Undefended()], QUERIES, output=tmp_path, progress=False)
