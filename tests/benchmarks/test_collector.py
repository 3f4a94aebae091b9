"""Half-downloaded and damaged sets: what is dropped, what is an error, and which counts differ."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from davsp import benchmarks
from davsp.benchmarks.collector import QueryCollector, white_image
from davsp.errors import InputError
from tests.benchmarks.folders import made, picture


def test_queries_that_share_a_published_id_are_both_kept() -> None:
    found = QueryCollector()
    for question in ("One?", "Two?", "  "):
        found.add("a", white_image(), question, malicious=False, group="g")
    assert [query.id for query in found.queries] == ["a", "a#2"]
    assert found.dropped == ["a: the question is empty"]


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


def test_differences_from_the_published_counts_are_told_by_group(tmp_path: Path) -> None:
    notes = benchmarks.load("mm_vet", made("mm_vet", tmp_path)).notes
    assert notes[:3] == ("2 of 218 queries", "1 of 200 images", "rec_know_gen: 0 of 62 queries")
    assert "ocr_math: 2 of 11 queries" in notes
