"""The variants of benchmarks: which queries, in which words and with which image."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from davsp import benchmarks
from davsp.benchmarks import figstep, mm_safetybench
from tests.benchmarks.folders import RECORD, made


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
