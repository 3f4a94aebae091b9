"""What holds for every benchmark: made-up folders in its published layout, and the real files."""

from __future__ import annotations

from pathlib import Path

import pytest

from davsp import benchmarks
from davsp.benchmarks import BENCHMARKS, collector
from davsp.benchmarks.base import BenchmarkAnswer, Purpose
from davsp.errors import InputError
from tests.benchmarks.folders import MADE, made


@pytest.mark.parametrize("name", BENCHMARKS.names())
def test_every_benchmark_is_read_from_its_published_layout(name: str, tmp_path: Path) -> None:
    loaded = benchmarks.load(name, made(name, tmp_path))
    _, queries, dropped = MADE[name]
    assert (len(loaded.queries), len(loaded.dropped)) == (queries, dropped)
    assert len({query.id for query in loaded.queries}) == queries
    published = BENCHMARKS.get(name).variant(None)[1]
    assert loaded.notes[0] == f"{queries} of {published.queries} queries"
    assert all(query.group in published.groups for query in loaded.queries if published.groups)
    purpose = BENCHMARKS.get(name).purpose
    if purpose is Purpose.SAFETY:
        assert all(query.malicious for query in loaded.queries)
    if purpose is Purpose.USEFULNESS:
        assert all(query.answer and not query.malicious for query in loaded.queries)


@pytest.mark.parametrize("name", BENCHMARKS.names())
def test_a_wrong_folder_is_told_apart_from_the_right_one(name: str, tmp_path: Path) -> None:
    (tmp_path / "holiday.txt").write_text("no benchmark")
    with pytest.raises(InputError, match=r"holds none of .*\. Is it the right folder, and downloaded as a whole\?"):
        benchmarks.load(name, tmp_path)
    with pytest.raises(InputError, match=r"is no folder\. Give the one that holds"):
        benchmarks.load(name, tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"has no variant 'best'\. Choose from "):
        benchmarks.load(name, tmp_path, "best")


@pytest.mark.parametrize("name", BENCHMARKS.names())
def test_every_benchmark_says_where_it_is_from(name: str) -> None:
    benchmark = BENCHMARKS.get(name)
    assert benchmark.name == name
    assert "arXiv" in benchmark.citation and benchmark.licence and benchmark.content and benchmark.source
    for variant in benchmark.variants.values():
        assert not variant.groups or sum(variant.groups.values()) == variant.queries
    if benchmark.hub and benchmark.hub.revision:
        assert len(benchmark.hub.revision) == 40 and int(benchmark.hub.revision, 16)


def test_a_name_that_is_no_benchmark_is_a_clear_error() -> None:
    with pytest.raises(InputError, match=r"no benchmark 'mmbench'\. Choose from figstep, harmbench"):
        benchmarks.load("mmbench")


def test_benchmarks_are_listed_by_what_they_measure_then_by_name() -> None:
    listed = benchmarks.every_benchmark()
    assert [benchmark.name for benchmark in listed if benchmark.purpose is Purpose.OVER_REFUSAL] == [
        "mossbench",
        "xstest",
    ]
    purposes = [benchmark.purpose for benchmark in listed]
    assert list(dict.fromkeys(purposes)) == list(Purpose) and purposes == sorted(purposes, key=list(Purpose).index)
    assert {benchmark.name for benchmark in listed} == set(BENCHMARKS.names()) == set(MADE)


@pytest.mark.parametrize("name", [name for name in MADE if BENCHMARKS.get(name).official])
def test_the_headline_of_a_benchmark_is_a_figure_of_its_official_scores(name: str) -> None:
    benchmark = BENCHMARKS.get(name)
    assert benchmark.official is not None and benchmark.headline is not None
    marks = dict.fromkeys(benchmark.grader.marks, 1.0) if benchmark.grader else {}
    groups = benchmark.variant(None)[1].groups
    answers = [BenchmarkAnswer(group, "Yes", "Yes", "1.jpg", marks) for group in groups for _ in range(2)]
    assert benchmark.headline.figure in benchmark.official(answers).figures
    assert benchmark.official([]).figures == {}


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
    published = BENCHMARKS.get(name).variants[variant]
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
    monkeypatch.setattr(collector, "image_problem", lambda image: None)
    loaded = benchmarks.load(name, data_folder / folder, variant)
    assert len(loaded.queries) == BENCHMARKS.get(name).variants[variant].queries
    assert (loaded.dropped, loaded.notes) == ((), ())
