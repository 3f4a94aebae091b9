"""Benchmarks that come from the Hugging Face hub: pinned, cached, as Parquet files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from davsp import benchmarks
from davsp.benchmarks import BENCHMARKS
from davsp.errors import InputError
from tests.benchmarks.folders import made, picture


def in_cache(cache: Path, name: str) -> Path:
    hub = BENCHMARKS.get(name).hub
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
