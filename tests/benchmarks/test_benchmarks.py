"""Loading benchmarks from folders in their published layouts: made-up harmless ones here, and the real files."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from typer.testing import CliRunner

from davsp import benchmarks
from davsp.benchmarks import base, figstep, mm_safetybench, mme
from davsp.cli import app
from davsp.errors import InputError

RECORD = {
    "Question": "How is tea made?",
    "Changed Question": "Tell how tea is made.",
    "Rephrased Question": "The bottom of the image names a drink. How is it made?",
    "Rephrased Question(SD)": "The image shows a drink. How is it made?",
}


def picture(path: Path, size: tuple[int, int] = (4, 4), colour: str = "red") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)
    return path


def table(path: Path, *rows: Mapping[str, object]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def as_json(path: Path, content: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def lines(path: Path, *records: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


# One small folder for each published layout


def make_mm_safetybench(folder: Path) -> None:
    for scenario in mm_safetybench.SCENARIOS:
        as_json(folder / "data" / "processed_questions" / f"{scenario}.json", {"0": RECORD, "7": RECORD})
        for kind in ("SD", "SD_TYPO", "TYPO"):
            picture(folder / "data" / "imgs" / scenario / kind / "0.jpg")
    chosen = [{"Scenario": scenario, "Sampled_ID_List": [7]} for scenario in mm_safetybench.SCENARIOS]
    as_json(folder / "TinyVersion_ID_List.json", chosen)


def make_figstep(folder: Path) -> None:
    rows = [
        {"category_id": 1, "task_id": i, "category_name": "Illegal Activity", "question": "?", "instruction": "Tea."}
        for i in (1, 2)
    ]
    table(folder / "data" / "question" / "safebench.csv", *rows)
    table(folder / "data" / "question" / "SafeBench-Tiny.csv", *rows)
    (folder / "data" / "question" / "benign_sentences_without_harmful_phase.csv").write_text(
        "sentence\nSteps to make *.\nSteps to pour *, and drink."
    )
    for i in (1, 2):
        picture(folder / "data" / "images" / "SafeBench" / f"query_ForbidQI_1_{i}_6.png")
    splits = folder / "data" / "images" / "FigStep-Pro" / "sub-figures" / "image_0_splits"
    picture(splits / "image_0_split_0.png", (3, 5), "black")
    picture(splits / "image_0_split_1.png", (6, 2), "black")


def make_vlguard(folder: Path) -> None:
    safe = [
        {"safe_instruction": "Who is there?", "response": "A cat."},
        {"unsafe_instruction": "Mock the cat.", "response": "I will not."},
    ]
    unsafe = [{"instruction": "Describe it.", "response": "I cannot."}]
    for side in ("test", "train"):
        records = [
            {"id": "a", "image": "pets/a.png", "safe": True, "instr-resp": safe},
            {"id": "b", "image": "b.png", "safe": False, "harmful_category": "privacy", "instr-resp": unsafe},
        ]
        as_json(folder / f"{side}.json", records)
        picture(folder / side / "pets" / "a.png")
        picture(folder / side / "b.png")


def make_harmbench(folder: Path) -> None:
    row = {"Behavior": "Describe tea.", "BehaviorID": "tea", "SemanticCategory": "illegal", "ImageFileName": "tea.jpg"}
    table(folder / "data" / "behavior_datasets" / "harmbench_behaviors_multimodal_all.csv", row)
    picture(folder / "data" / "multimodal_behavior_images" / "tea.png")


def make_jailbreakv(folder: Path) -> None:
    row = {
        "id": 0, "jailbreak_query": "In a play, tell of tea.", "redteam_query": "Tell of tea.", "format": "Template",
        "policy": "Malware", "image_path": "llm_transfer_attack/blank.png",
    }  # fmt: skip
    gone = row | {"id": 1, "image_path": "figstep/gone.png"}
    for name in ("JailBreakV_28K.csv", "mini_JailBreakV_28K.csv"):
        table(folder / "JailBreakV_28K" / name, row, gone)
    picture(folder / "JailBreakV_28K" / "llm_transfer_attack" / "blank.png")


def make_siuo(folder: Path) -> None:
    record = {"question_id": 1001, "image": "S-01.png", "question": "How long to steep?", "category": "morality"}
    as_json(folder / "siuo_gen.json", [record])
    picture(folder / "images" / "S-01.png")


def make_msts(folder: Path) -> None:
    row = {
        "hazard_category": "Other", "case_id": "case_0001", "prompt_text": "Should I drink this?",
        "prompt_type": "assistance", "unsafe_image_id": "unsafe_image_0001",
    }  # fmt: skip
    table(folder / "data" / "prompts" / "english_multimodal.csv", row)
    table(folder / "data" / "prompts" / "english_textonly.csv", row)
    picture(folder / "data" / "images" / "unsafe_image_0001.png")


def make_mm_vet(folder: Path) -> None:
    record = {"imagename": "v1_0.png", "question": "What is x?", "answer": "1<OR>one", "capability": ["math", "ocr"]}
    as_json(folder / "mm-vet.json", {"v1_0": record, "v1_1": record})
    picture(folder / "images" / "v1_0.png")


def make_mme(folder: Path) -> None:
    for subtask in mme.SUBTASKS:
        home = folder / "MME_Benchmark_release_version" / subtask
        apart = subtask in ("artwork", "celebrity", "landmark", "posters", "scene")
        picture((home / "images" if apart else home) / "1.jpg")
        text = (home / "questions_answers_YN" if apart else home) / "1.txt"
        text.parent.mkdir(exist_ok=True)
        text.write_text("Is it tea? Please answer yes or no.\tYes\nIs it rain? Please answer yes or no.\tNo\n")


def make_llava_bench(folder: Path) -> None:
    question = {"question_id": 0, "image": "001.jpg", "text": "What is it?", "category": "conv"}
    lines(folder / "questions.jsonl", question, question | {"question_id": 1, "category": "detail"})
    lines(folder / "answers_gpt4.jsonl", {"question_id": 0, "text": "A cup."}, {"question_id": 1, "text": "A big cup."})
    lines(folder / "context.jsonl", {"id": "001", "image": "001.jpg", "caption": "A cup on a table."})
    picture(folder / "images" / "001.jpg")


def make_pope(folder: Path) -> None:
    for kind in ("random", "popular", "adversarial"):
        record = {"question_id": 1, "image": "COCO_1.jpg", "text": "Is there a cup?", "label": "yes"}
        lines(folder / "coco" / f"coco_pope_{kind}.json", record, record | {"question_id": 2, "label": "no"})
    picture(folder / "val2014" / "COCO_1.jpg")


def make_mossbench(folder: Path) -> None:
    record = {"image": "images/1.png", "question": "Is it sharp?", "pid": "1", "metadata": {"over": "type 1"}}
    for home in ("data", "data_contrast"):
        as_json(folder / home / "images_information" / "information.json", {"1": record})
        picture(folder / home / "images" / "1.png")


def make_xstest(folder: Path) -> None:
    row = {"id": 1, "prompt": "How do I kill weeds?", "type": "homonyms", "label": "safe", "focus": "kill", "note": ""}
    table(folder / "xstest_prompts.csv", row, row | {"id": 2, "type": "contrast_homonyms", "label": "unsafe"})


MADE: dict[str, tuple[Callable[[Path], None], int, int]] = {
    "mm_safetybench": (make_mm_safetybench, 13, 13),
    "figstep": (make_figstep, 2, 0),
    "vlguard": (make_vlguard, 1, 0),
    "harmbench": (make_harmbench, 1, 0),
    "jailbreakv": (make_jailbreakv, 1, 1),
    "siuo": (make_siuo, 1, 0),
    "msts": (make_msts, 1, 0),
    "mm_vet": (make_mm_vet, 2, 0),
    "mme": (make_mme, 28, 0),
    "llava_bench": (make_llava_bench, 2, 0),
    "pope": (make_pope, 2, 0),
    "mossbench": (make_mossbench, 1, 0),
    "xstest": (make_xstest, 2, 0),
}
"""By benchmark: what makes its folder, and how many queries its usual variant then has and drops."""


def made(name: str, folder: Path) -> Path:
    MADE[name][0](folder)
    return folder


def test_a_record_in_another_form_is_dropped_or_named(tmp_path: Path) -> None:
    picture(tmp_path / "val2014" / "a.jpg")
    rows = [{"question_id": n, "image": "a.jpg", "text": "Is there a cat?", "label": "yes"} for n in range(3)]
    rows[1]["text"], rows[2]["label"] = 5, "maybe"
    file = tmp_path / "coco_pope_random.json"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    loaded = benchmarks.load("pope", tmp_path, "random")
    assert len(loaded.queries) == 1
    assert "is 5, which is no text" in loaded.dropped[0]
    assert "neither yes nor no" in loaded.dropped[1]
    file.write_text(json.dumps(rows[0] | {"image": None}) + "\n")
    with pytest.raises(InputError, match="not in the published form"):
        benchmarks.load("pope", tmp_path, "random")
    (tmp_path / "xstest_prompts.csv").write_text("id,prompt,type,label\n1,hi,homonyms,safe\n2\n")
    with pytest.raises(InputError, match="line 3: fewer cells than the header"):
        benchmarks.load("xstest", tmp_path)


@pytest.mark.parametrize("name", benchmarks.NAMES)
def test_every_benchmark_is_read_from_its_published_layout(name: str, tmp_path: Path) -> None:
    loaded = benchmarks.load(name, made(name, tmp_path))
    _, queries, dropped = MADE[name]
    assert (len(loaded.queries), len(loaded.dropped)) == (queries, dropped)
    assert len({query.id for query in loaded.queries}) == queries
    published = benchmarks.get(name).variant(None)[1]
    assert loaded.notes[0] == f"{queries} of {published.queries} queries"
    assert all(query.group in published.groups for query in loaded.queries if published.groups)
    purpose = benchmarks.get(name).purpose
    if purpose is base.Purpose.SAFETY:
        assert all(query.malicious for query in loaded.queries)
    if purpose is base.Purpose.USEFULNESS:
        assert all(query.answer and not query.malicious for query in loaded.queries)


@pytest.mark.parametrize("name", benchmarks.NAMES)
def test_a_wrong_folder_is_told_apart_from_the_right_one(name: str, tmp_path: Path) -> None:
    (tmp_path / "holiday.txt").write_text("no benchmark")
    with pytest.raises(InputError, match=r"holds none of .*\. Is it the right folder, and downloaded as a whole\?"):
        benchmarks.load(name, tmp_path)
    with pytest.raises(InputError, match=r"is no folder\. Give the one that holds"):
        benchmarks.load(name, tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"has no variant 'best'\. Choose from "):
        benchmarks.load(name, tmp_path, "best")


@pytest.mark.parametrize("name", benchmarks.NAMES)
def test_every_benchmark_says_where_it_is_from(name: str) -> None:
    benchmark = benchmarks.get(name)
    assert benchmark.name == name
    assert "arXiv" in benchmark.citation and benchmark.licence and benchmark.content and benchmark.source
    for variant in benchmark.variants.values():
        assert not variant.groups or sum(variant.groups.values()) == variant.queries
    if benchmark.hub and benchmark.hub.revision:
        assert len(benchmark.hub.revision) == 40 and int(benchmark.hub.revision, 16)


def test_a_name_that_is_no_benchmark_is_a_clear_error() -> None:
    with pytest.raises(InputError, match=r"no benchmark 'mmbench'\. Choose from mm_safetybench, figstep"):
        benchmarks.load("mmbench")


def test_the_list_of_benchmarks_imports_neither_them_nor_torch() -> None:
    code = "import sys, davsp.benchmarks, davsp.cli.benchmark; print(*(m for m in sys.modules))"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "transformers", "inspect_ai", "davsp.benchmarks.figstep"} & set(modules)


# Half-downloaded sets


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, r"no image .*v1_0\.png"),
        (b"", r"v1_0\.png is empty"),
        (b"version https://git-lfs.github.com/spec/v1\n", r"is a Git LFS pointer: run `git lfs pull` there"),
    ],
)
def test_images_that_did_not_arrive_are_named(content: bytes | None, reason: str, tmp_path: Path) -> None:
    image = made("mm_vet", tmp_path) / "images" / "v1_0.png"
    image.unlink()
    if content is not None:
        image.write_bytes(content)
    with pytest.raises(InputError, match=f"holds no usable query of MM-Vet, all. The first of 2: v1_0: .*{reason}"):
        benchmarks.load("mm_vet", tmp_path)


def test_an_archive_that_was_not_unpacked_is_named(tmp_path: Path) -> None:
    (made("vlguard", tmp_path) / "test" / "pets" / "a.png").unlink()
    (tmp_path / "test.zip").write_bytes(b"")
    with pytest.raises(InputError, match=r"Unpack test\.zip there\."):
        benchmarks.load("vlguard", tmp_path)


def test_a_question_file_that_is_missing_or_damaged_is_an_error(tmp_path: Path) -> None:
    path = made("mm_safetybench", tmp_path) / "data" / "processed_questions" / "06-Fraud.json"
    path.write_text('{"0": {"Question": "?"}}')
    with pytest.raises(
        InputError,
        match=r"06-Fraud\.json, record '0': no Rephrased Question, Rephrased Question\(SD\), Changed Question",
    ):
        benchmarks.load("mm_safetybench", tmp_path)
    path.unlink()
    with pytest.raises(InputError, match=r"06-Fraud\.json: no such file"):
        benchmarks.load("mm_safetybench", tmp_path)


def test_differences_from_the_published_counts_are_told_by_group(tmp_path: Path) -> None:
    notes = benchmarks.load("mm_vet", made("mm_vet", tmp_path)).notes
    assert notes[:3] == ("2 of 218 queries", "1 of 200 images", "rec_know_gen: 0 of 62 queries")
    assert "ocr_math: 2 of 11 queries" in notes


# Variants


def test_each_kind_of_mm_safetybench_has_its_own_question_and_picture(tmp_path: Path) -> None:
    made("mm_safetybench", tmp_path)
    asked = {kind: benchmarks.load("mm_safetybench", tmp_path, kind).queries[0] for kind in mm_safetybench.COLUMNS}
    assert asked["SD"].question == RECORD["Rephrased Question(SD)"]
    assert asked["TYPO"].question == asked["SD_TYPO"].question == RECORD["Rephrased Question"]
    assert asked["Text_only"].question == RECORD["Changed Question"]
    assert asked["TYPO"].image == tmp_path / "data" / "imgs" / "01-Illegal_Activitiy" / "TYPO" / "0.jpg"
    plain = asked["Text_only"].image
    assert isinstance(plain, Image.Image) and plain.size == (336, 336) and plain.getextrema() == ((255, 255),) * 3


def test_the_tiny_version_has_the_listed_questions(tmp_path: Path) -> None:
    found = benchmarks.load("mm_safetybench", made("mm_safetybench", tmp_path), "Text_only-tiny")
    assert {query.id.rpartition("/")[2] for query in found.queries} == {"7"}
    assert len(found.queries) == 13


def test_the_paper_s_two_parts_share_no_question_and_are_always_the_same(data_folder: Path) -> None:
    folder = data_folder / "mm_safetybench"
    parts = [benchmarks.load("mm_safetybench", folder, f"Text_only-paper-{side}") for side in ("train", "test")]
    train, test = ({query.id for query in part.queries} for part in parts)
    assert (len(train), len(test), train & test) == (200, 1480, set())
    again = benchmarks.load("mm_safetybench", folder, "Text_only-paper-train")
    assert {query.id for query in again.queries} == train


def test_the_parts_of_a_figstep_pro_image_stand_side_by_side(tmp_path: Path) -> None:
    loaded = benchmarks.load("figstep", made("figstep", tmp_path), "pro")
    (query,) = loaded.queries
    assert isinstance(query.image, Image.Image)
    assert query.image.size == (9, 5)
    assert [query.image.getpixel(at) for at in ((2, 4), (8, 1), (8, 4))] == [(0, 0, 0), (0, 0, 0), (255, 255, 255)]
    assert query.question.startswith("Steps to make *.\n1.\n2.\n3.\n\nThe text above")
    assert loaded.dropped[0].startswith("query_ForbidQI_1_2_6: no image")
    assert benchmarks.load("figstep", tmp_path).queries[0].question == figstep.QUESTION


def test_vlguard_asks_of_safe_images_both_ways(tmp_path: Path) -> None:
    made("vlguard", tmp_path)
    (safe,) = benchmarks.load("vlguard", tmp_path, "safe_safe").queries
    (unsafe,) = benchmarks.load("vlguard", tmp_path, "train-safe_unsafe").queries
    (image,) = benchmarks.load("vlguard", tmp_path, "unsafe").queries
    assert (safe.question, safe.answer, safe.malicious) == ("Who is there?", "A cat.", False)
    assert (unsafe.question, unsafe.answer, unsafe.malicious) == ("Mock the cat.", "I will not.", True)
    assert (image.group, image.malicious, unsafe.image) == ("privacy", True, tmp_path / "train" / "pets" / "a.png")


def test_the_unsafe_prompts_of_xstest_and_the_contrast_of_mossbench_are_malicious(tmp_path: Path) -> None:
    loaded = benchmarks.load("xstest", made("xstest", tmp_path / "x"))
    assert [(q.group, q.malicious) for q in loaded.queries] == [("homonyms", False), ("contrast_homonyms", True)]
    assert [q.malicious for q in benchmarks.load("xstest", tmp_path / "x", "safe").queries] == [False]
    made("mossbench", tmp_path / "m")
    kinds = {kind: benchmarks.load("mossbench", tmp_path / "m", kind).queries[0] for kind in ("safe", "contrast")}
    assert (kinds["safe"].malicious, kinds["contrast"].malicious) == (False, True)
    assert kinds["contrast"].image == tmp_path / "m" / "data_contrast" / "images" / "1.png"


def test_queries_that_share_a_published_id_are_both_kept() -> None:
    found = base.QueryCollector()
    for question in ("One?", "Two?", "  "):
        found.add("a", base.white_image(), question, malicious=False, group="g")
    assert [query.id for query in found.queries] == ["a", "a#2"]
    assert found.dropped == ["a: the question is empty"]


# From the hub


def in_cache(cache: Path, name: str) -> Path:
    hub = benchmarks.get(name).hub
    assert hub is not None and hub.revision is not None
    folder = cache / f"datasets--{hub.id.replace('/', '--')}" / "snapshots" / hub.revision
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return tmp_path / "cache"


def test_without_a_folder_the_pinned_revision_is_taken_from_the_cache(cache: Path) -> None:
    made("llava_bench", in_cache(cache, "llava_bench"))
    assert len(benchmarks.load("llava_bench").queries) == 2


def test_without_folder_cache_and_network_the_error_says_what_to_give(cache: Path) -> None:
    with pytest.raises(InputError, match=r"POPE: no data set lmms-lab/POPE@4db1.* Or give a local folder of github"):
        benchmarks.load("pope")
    with pytest.raises(InputError, match=r"Accept its terms at huggingface\.co/datasets/ys-zong/VLGuard first"):
        benchmarks.load("vlguard")
    for name in ("figstep", "mm_safetybench", "harmbench", "mossbench"):
        with pytest.raises(InputError, match="no data set on the hub whose revision is known: give a local folder of"):
            benchmarks.load(name)


def shard(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(list(rows)), path)


def test_the_hub_s_parquet_files_are_read_and_equal_images_are_held_once(cache: Path, tmp_path: Path) -> None:
    image = {"bytes": picture(tmp_path / "a.png").read_bytes(), "path": None}
    row = {"question_id": "1", "question": "Is there a cup?", "answer": "yes", "image_source": "COCO_1", "image": image}
    folder = in_cache(cache, "pope")
    shard(folder / "Full" / "random-00000-of-00002.parquet", [row])
    shard(folder / "Full" / "random-00001-of-00002.parquet", [row | {"question_id": "2", "answer": "no"}])
    one, two = benchmarks.load("pope", variant="random").queries
    assert (one.id, one.answer, two.answer, one.metadata["image_name"]) == ("random/1", "Yes", "No", "COCO_1.jpg")
    assert one.image == image["bytes"] and one.image is two.image

    rows = [
        {"question_id": "count/1.jpg", "question": "Is it tea?", "answer": answer, "category": "count", "image": image}
        for answer in ("Yes", "No")
    ]
    shard(in_cache(cache, "mme") / "data" / "test-00000-of-00001.parquet", rows)
    assert [q.id for q in benchmarks.load("mme").queries] == ["count/1.jpg/yes", "count/1.jpg/no"]

    prompt = {"prompt": "How do I kill weeds?", "type": "homonyms", "label": "safe", "focus": "kill"}
    shard(in_cache(cache, "xstest") / "data" / "test-00000-of-00001.parquet", [prompt])
    assert benchmarks.load("xstest", variant="safe").queries[0].question == prompt["prompt"]


# The real files


@pytest.mark.parametrize(
    ("name", "folder", "variant", "queries", "dropped"),
    [
        ("mm_safetybench", "mm_safetybench", "SD-tiny", 56, 112),
        ("mm_safetybench", "mm_safetybench", "SD_TYPO-tiny", 56, 112),
        ("mm_safetybench", "mm_safetybench", "TYPO-tiny", 56, 112),
        ("mm_safetybench", "mm_safetybench", "Text_only", 1680, 0),
        ("figstep", "figstep_tiny", "tiny", 50, 0),
        ("mm_vet", "mm_vet", "all", 65, 153),
        ("mossbench", "mossbench", "safe", 32, 268),
        ("msts", "msts", "text_only", 400, 0),
        ("xstest", "xstest", "all", 450, 0),
    ],
)
def test_the_real_files_give_the_published_counts_but_for_images_that_are_not_here(
    data_folder: Path, name: str, folder: str, variant: str, queries: int, dropped: int
) -> None:
    loaded = benchmarks.load(name, data_folder / folder, variant)
    assert (len(loaded.queries), len(loaded.dropped)) == (queries, dropped)
    assert all(": no image " in line for line in loaded.dropped)
    published = benchmarks.get(name).variants[variant]
    assert queries + dropped == published.queries
    assert bool(loaded.notes) == bool(dropped)


@pytest.mark.parametrize(
    ("name", "folder", "variant"),
    [
        *(("vlguard", "vlguard", v) for v in ("safe_safe", "safe_unsafe", "unsafe", "train-safe_safe", "train-unsafe")),
        *(("pope", "pope", v) for v in ("random", "popular", "adversarial")),
        ("llava_bench", "llava_bench_in_the_wild", "all"),
        ("msts", "msts", "multimodal"),
        ("mossbench", "mossbench", "contrast"),
        ("mossbench", "mossbench", "safe"),
        ("mm_vet", "mm_vet", "all"),
        ("mm_safetybench", "mm_safetybench", "TYPO"),
    ],
)
def test_with_every_image_in_place_the_real_files_give_the_published_counts(
    data_folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, folder: str, variant: str
) -> None:
    monkeypatch.setattr(base, "missing", lambda image: None)
    loaded = benchmarks.load(name, data_folder / folder, variant)
    assert len(loaded.queries) == benchmarks.get(name).variants[variant].queries
    assert (loaded.dropped, loaded.notes) == ((), ())


# The command


def test_the_command_lists_every_benchmark() -> None:
    run = CliRunner().invoke(app, ["benchmark", "list"], env={"COLUMNS": "200"})
    assert run.exit_code == 0, run.output
    assert all(name in run.stdout for name in benchmarks.NAMES)
    assert "PKU-Alignment/MM-SafetyBench" in run.stdout and "no known revision" in run.stdout


def test_the_command_shows_what_a_folder_holds(tmp_path: Path) -> None:
    made("jailbreakv", tmp_path)
    run = CliRunner().invoke(app, ["benchmark", "show", "jailbreakv", str(tmp_path), "--variant", "mini", "--json"])
    assert run.exit_code == 0, run.output
    told = json.loads(run.stdout)
    assert (told["variant"], told["queries"], told["published"]) == ("mini", 1, 280)
    assert told["groups"] == {"Template": 1} and told["notes"] == ["1 of 280 queries"]
    assert told["dropped"][0].startswith("1: no image ")
    run = CliRunner().invoke(app, ["benchmark", "show", "jailbreakv", str(tmp_path)])
    assert run.exit_code == 0, run.output
    assert "Template" in run.stdout and "Dropped:  1\n  1: no image " in run.stdout and "Licence:  MIT" in run.stdout
