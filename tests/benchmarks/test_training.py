"""Benchmarks as training data: what may be trained on, how it is divided, and the folder it is written to."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from davsp.benchmarks import BENCHMARKS, mm_safetybench
from davsp.benchmarks.export import export
from davsp.benchmarks.training import select_for_training, training_queries, training_remarks
from davsp.data.digests import image_bytes
from davsp.data.query import REQUEST, Query
from davsp.data.sources import read_source
from davsp.errors import InputError
from davsp.training.twins import text_twins
from tests.benchmarks.folders import made, make_mm_safetybench_to_train_on, make_mm_vet_to_train_on
from tests.command_line import run

PAPER = [f"mm_safetybench:{kind}-paper-train" for kind in ("SD", "TYPO", "SD_TYPO")]
Folders = tuple[Path, Path]


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    """MM-SafetyBench with 260 questions, MM-Vet with 120 on 40 images."""
    make_mm_safetybench_to_train_on(tmp_path / "safety", 20)
    make_mm_vet_to_train_on(tmp_path / "vet", 120)
    return tmp_path / "safety", tmp_path / "vet"


def paper(folders: Folders) -> list[str]:
    safety, vet = folders
    return [*(f"{name}={safety}" for name in PAPER), f"mm_vet:paper-train={vet}"]


def ids(queries: Sequence[Query]) -> set[str]:
    return {query.id for query in queries}


def test_the_papers_training_set_is_600_malicious_and_100_benign_queries_of_which_a_fifth_validates(
    folders: Folders,
) -> None:
    training, checks = training_queries(select_for_training(paper(folders)), 0.2, seed=0)
    everything = [*training, *checks]
    assert sum(query.malicious for query in everything) == 3 * mm_safetybench.PAPER_TRAINING
    assert sum(not query.malicious for query in everything) == 100
    assert len(ids(everything)) == 700, "no id twice"
    assert sum(query.malicious for query in checks) == pytest.approx(120, abs=20)
    assert {query.answer for query in everything if not query.malicious} == {"1<OR>one"}
    again = training_queries(select_for_training(paper(folders)), 0.2, seed=0)
    other = training_queries(select_for_training(paper(folders)), 0.2, seed=1)
    assert ids(checks) == ids(again[1]) != ids(other[1])


def test_no_request_and_no_image_is_on_both_sides(folders: Folders) -> None:
    training, checks = training_queries(select_for_training(paper(folders)), 0.2, seed=0)

    def units(queries: Sequence[Query]) -> set[object]:
        return {query.metadata.get(REQUEST) or query.image for query in queries}

    assert not units(training) & units(checks)
    asked = [query for query in checks if query.malicious]
    assert len(asked) == 3 * len(units(asked)), "a request is there in all its kinds, or not at all"
    assert {query.group for query in asked} == set(mm_safetybench.SCENARIOS), "every scenario is validated"
    assert len(text_twins(asked)) == len(units(asked))


@pytest.mark.parametrize("name", ["mm_safetybench", "figstep", "jailbreakv"])
def test_images_that_hold_a_known_request_say_it(name: str, tmp_path: Path) -> None:
    [chosen] = select_for_training([f"{name}={made(name, tmp_path)}"])
    assert all(query.metadata[REQUEST] for query in chosen.loaded.queries)


def test_what_a_benchmark_is_left_to_be_measured_on_shares_no_query_with_it(folders: Folders) -> None:
    for name in paper(folders):
        [chosen] = select_for_training([name])
        rest = chosen.benchmark.variants[chosen.variant].rest
        assert rest
        folder = Path(name.partition("=")[2])
        left = chosen.benchmark.load(folder, rest)
        whole = chosen.benchmark.load(folder, chosen.variant.removesuffix("-paper-train").replace("paper-train", "all"))
        assert not ids(left.queries) & ids(chosen.loaded.queries)
        assert ids(left.queries) | ids(chosen.loaded.queries) == ids(whole.queries)


def test_every_rest_is_a_variant() -> None:
    for name in BENCHMARKS.names():
        variants = BENCHMARKS.get(name).variants
        assert all(variant.rest in variants for variant in variants.values() if variant.rest)
    assert BENCHMARKS.get("vlguard").variants["train-safe_safe"].rest == "safe_safe"
    assert BENCHMARKS.get("vlguard").variants["safe_safe"].rest is None


def test_the_licence_and_what_is_left_are_told(folders: Folders) -> None:
    safety, _ = folders
    [part] = select_for_training([f"mm_safetybench:SD-paper-train={safety}"])
    [whole] = select_for_training([f"mm_safetybench:SD={safety}"])
    told = list(training_remarks(part))
    assert told[0] == "MM-SafetyBench, SD-paper-train: 200 queries. Licence: CC BY-NC 4.0."
    assert told[1].endswith("measure on the rest of it, --benchmark mm_safetybench:SD-paper-test.")
    assert "cannot be measured on these queries again" in list(training_remarks(whole))[1]


@pytest.mark.parametrize("folder", ["", "=nowhere"])
def test_what_is_for_evaluation_only_is_refused_before_anything_is_read(folder: str) -> None:
    with pytest.raises(InputError, match=r"MOSSBench is for evaluation only: its authors prohibit training on it"):
        select_for_training([f"mossbench{folder}"])


def test_what_cannot_be_used_is_told(tmp_path: Path, folders: Folders) -> None:
    _, vet = folders
    with pytest.raises(InputError, match=r"mm_vet-all is named twice"):
        select_for_training([f"mm_vet={vet}", f"mm_vet:all={vet}"])
    with pytest.raises(InputError, match=r"there is no benchmark 'mmvet'"):
        select_for_training([f"mmvet={vet}"])
    alone = select_for_training([f"siuo={made('siuo', tmp_path / 'siuo')}"])
    with pytest.raises(InputError, match=r"malicious queries of a single request or image \('siuo-gen/1001'\)"):
        training_queries(alone, 0.2, seed=0)


def test_an_exported_folder_is_read_as_the_same_queries(folders: Folders, tmp_path: Path) -> None:
    for number, name in enumerate(paper(folders)[-2:]):
        chosen = select_for_training([name])
        out = export(chosen[0], tmp_path / str(number), 0.2, seed=3)
        for split, queries in zip(("train", "validation"), training_queries(chosen, 0.2, seed=3), strict=True):
            read = read_source(f"{out}:{split}").queries
            assert [(q.id, q.question, q.answer, q.malicious, q.group) for q in read] == [
                (q.id, q.question, q.answer, q.malicious, q.group) for q in queries
            ]
            assert [image_bytes(q.image, "") for q in read] == [image_bytes(q.image, "") for q in queries]
            assert [q.metadata.get(REQUEST) for q in read] == [q.metadata.get(REQUEST) for q in queries]
        card = (out / "README.md").read_text()
        assert f"Licence: {chosen[0].benchmark.licence}." in card and "| validation |" in card


def test_images_in_memory_are_exported_once_each(tmp_path: Path) -> None:
    rows = [{"id": i, "prompt": f"May I {i}?", "type": "homonyms", "label": "safe"} for i in range(4)]
    (tmp_path / "xstest_prompts.csv").write_text(
        "id,prompt,type,label\n" + "".join(f"{row['id']},{row['prompt']},homonyms,safe\n" for row in rows)
    )
    [chosen] = select_for_training([f"xstest={tmp_path}"])
    out = export(chosen, tmp_path / "out", 0.25, seed=0)
    assert [path.name for path in (out / "images").iterdir()] == ["00000.png"]
    assert len(read_source(f"{out}:train").queries) == 3


# --- the commands


@pytest.mark.slow
def test_a_prompt_is_trained_on_benchmarks(
    folders: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    named = [word for name in paper(folders) for word in ("--benchmark", name)]
    sets = [word for name in ("steps=2", "validate_every=2", "batch_size=2") for word in ("--set", name)]
    status, out, told = run(monkeypatch, capsys, "train", *named, *sets, "--out", tmp_path / "prompt")
    assert status == 0, told
    assert out.strip() == str(tmp_path / "prompt") and (tmp_path / "prompt" / "model.safetensors").is_file()
    assert "Licence: CC BY-NC 4.0." in told


@pytest.mark.slow
def test_a_vector_is_made_and_a_defence_fitted_with_benchmarks(
    folders: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    safety, vet = folders
    named = ["--benchmark", f"mm_safetybench:SD-paper-train={safety}", "--benchmark", f"mm_vet:paper-train={vet}"]
    assert run(monkeypatch, capsys, "vector", *named, "--out", tmp_path / "vector")[0] == 0
    assert json.loads((tmp_path / "vector" / "vector.json").read_text())["statistics"]
    sets = [word for name in ("steps=1", "candidates=2", "length=2") for word in ("--set", name)]
    status, _, told = run(monkeypatch, capsys, "fit", "pat", *named, *sets, "--out", tmp_path / "pat")
    assert status == 0, told
    assert json.loads((tmp_path / "pat" / "config.json").read_text())["kind"] == "pat"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["train", "--benchmark", "mossbench"], "MOSSBench is for evaluation only"),
        (["vector", "--benchmark", "mossbench"], "MOSSBench is for evaluation only"),
        (["fit", "pat", "--benchmark", "mossbench"], "MOSSBench is for evaluation only"),
        (["fit", "esiii", "--benchmark", "mm_vet"], "leave out --benchmark"),
        (["train", "--benchmark", "mm_vet=nowhere"], "nowhere is no folder"),
        (["train", "--benchmark", "mm_vet", "--data", "testbed"], "give either --data or --benchmark"),
    ],
)
def test_what_a_command_cannot_train_on_is_one_line(
    words: list[str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    status, _, said = run(monkeypatch, capsys, *words, "--out", tmp_path / "out")
    assert status == 2 and told in said and "Traceback" not in said
    assert not (tmp_path / "out").exists()


def test_a_benchmark_is_exported_once(
    folders: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["benchmark", "export", f"mm_vet:paper-train={folders[1]}", tmp_path / "out"]
    status, out, told = run(monkeypatch, capsys, *words)
    assert (status, out.strip()) == (0, str(tmp_path / "out"))
    assert "Licence: CC BY-NC 4.0." in told
    status, _, told = run(monkeypatch, capsys, *words)
    assert status == 2 and "choose another output folder" in told
    status, _, told = run(monkeypatch, capsys, "benchmark", "export", "mossbench", tmp_path / "other")
    assert status == 2 and "evaluation only" in told and not (tmp_path / "other").exists()
