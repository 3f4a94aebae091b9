"""Where queries come from: files, folders and data sets with splits and shards."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import datasets
import pytest
from PIL import Image

from davsp.data.sources import read_source
from davsp.errors import BadRecords, InputError


def png(colour: str = "red") -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (8, 8), colour).save(stream, "PNG")
    return stream.getvalue()


def write_queries(file: Path, count: int = 3) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    (file.parent / "a.png").write_bytes(png())
    records = [{"image": "a.png", "question": f"Question {i}?", "malicious": False} for i in range(count)]
    file.write_text("".join(json.dumps(record) + "\n" for record in records))
    return file


@pytest.fixture
def data_set(tmp_path: Path) -> Path:
    """A data set as `push_to_hub` lays it out: two shards of training queries, one of test queries."""
    features = datasets.Features(
        {
            "image": datasets.Image(),
            "question": datasets.Value("string"),
            "malicious": datasets.ClassLabel(names=["benign", "malicious"]),
            "category": datasets.ClassLabel(names=["fraud", "weather"]),
        }
    )
    folder = tmp_path / "pushed"
    for split, counts in {"train": (2, 3), "test": (1,)}.items():
        for shard, count in enumerate(counts):
            rows = {
                "image": [{"bytes": png(), "path": "a.png"}] * count,
                "question": [f"{split} {shard} {i}?" for i in range(count)],
                "malicious": [i % 2 for i in range(count)],
                "category": [i % 2 for i in range(count)],
            }
            path = folder / "data" / f"{split}-{shard:05}-of-{len(counts):05}.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            datasets.Dataset.from_dict(rows, features=features).to_parquet(path)
    return folder


def questions(name: object, **options: object) -> list[str]:
    return [query.question for query in read_source(str(name), **options).queries]  # type: ignore[arg-type]


def test_a_folder_stands_for_its_only_file_or_for_the_one_named_queries(tmp_path: Path) -> None:
    file = write_queries(tmp_path / "q.jsonl")
    assert questions(tmp_path) == questions(file) == ["Question 0?", "Question 1?", "Question 2?"]
    write_queries(tmp_path / "queries.jsonl", count=1)
    assert questions(tmp_path) == ["Question 0?"]


def test_a_folder_without_queries_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no file of queries"):
        read_source(str(tmp_path))


def test_shards_of_a_split_are_one_set_with_images_as_bytes_and_labels_by_name(data_set: Path) -> None:
    queries = read_source(str(data_set)).queries
    assert [q.question for q in queries] == ["train 0 0?", "train 0 1?", "train 1 0?", "train 1 1?", "train 1 2?"]
    assert [q.malicious for q in queries] == [False, True, False, True, False]
    assert [q.group for q in queries] == ["fraud", "weather", "fraud", "weather", "fraud"]
    assert all(query.image == png() for query in queries)


def test_a_split_is_chosen_by_name_or_by_what_is_to_be_done(data_set: Path) -> None:
    assert questions(f"{data_set}:test") == ["test 0 0?"]
    assert questions(data_set, splits=("test", "train")) == ["test 0 0?"]
    assert len(questions(f"{data_set}:default/train")) == 5
    with pytest.raises(InputError, match=r"has no split 'validation'\. Choose one, .*:SPLIT, of t"):
        read_source(f"{data_set}:validation")
    with pytest.raises(InputError, match=r"has no configuration 'other'\. Choose from default"):
        read_source(f"{data_set}:other/train")


def test_a_bad_row_of_a_data_set_is_named(data_set: Path) -> None:
    rows = {"image": [{"bytes": png(), "path": None}] * 2, "question": ["fine?", ""], "malicious": [0, 1]}
    features = datasets.Features(
        {"image": datasets.Image(), "question": datasets.Value("string"), "malicious": datasets.Value("int64")}
    )
    folder = data_set.parent / "other"
    folder.mkdir()
    for split in ("train", "test"):
        datasets.Dataset.from_dict(rows, features=features).to_parquet(folder / f"{split}.parquet")
    with pytest.raises(BadRecords, match=r"row 2: no question"):
        read_source(str(folder))
    assert questions(folder, skip_bad=True) == ["fine?"]


def test_a_damaged_shard_is_one_clear_line(data_set: Path) -> None:
    (data_set / "data" / "train-00001-of-00002.parquet").write_bytes(b"PAR1 nothing")
    with pytest.raises(InputError, match="cannot be read"):
        read_source(str(data_set))


def test_images_beside_a_metadata_file_are_read_by_their_file_names(tmp_path: Path) -> None:
    (tmp_path / "0.png").write_bytes(png())
    record = {"file_name": "0.png", "question": "What?", "malicious": False}
    (tmp_path / "metadata.jsonl").write_text(json.dumps(record) + "\n")
    assert read_source(str(tmp_path)).queries[0].image == tmp_path / "0.png"


@pytest.mark.parametrize("laid_out", ["file", "data set"])
def test_a_data_set_of_the_hub_is_found_in_the_local_cache_at_its_revision(
    laid_out: str, data_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    revision = "0123456789abcdef0123456789abcdef01234567"
    snapshot = tmp_path / "cache" / "datasets--someone--queries" / "snapshots" / revision
    if laid_out == "file":
        write_queries(snapshot / "q.jsonl")
    else:
        shutil.copytree(data_set, snapshot)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    assert len(questions(f"someone/queries@{revision}")) == {"file": 3, "data set": 5}[laid_out]
    if laid_out == "data set":
        assert questions(f"someone/queries@{revision}:test") == ["test 0 0?"]
    with pytest.raises(InputError, match="someone/other is no file and no folder, and no data set"):
        read_source("someone/other")
