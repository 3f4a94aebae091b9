"""Reading query files: the forms they come in, and what is said of bad ones."""

import base64
import dataclasses
import io
import json
import os
import unicodedata
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from davsp.data.query import check_question
from davsp.data.readers import read_queries
from davsp.errors import BadRecords, InputError

Spelling = Literal["NFC", "NFD"]

GOOD = {"id": "a", "image": "cat.png", "question": "What is it?", "malicious": False}


def png() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (2, 2), "red").save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "cat.png").write_bytes(png())
    return tmp_path


@pytest.fixture
def data() -> Path:
    root = os.environ.get("DAVSP_TEST_DATA")
    if not root or not Path(root).is_dir():
        pytest.skip("DAVSP_TEST_DATA names no folder with the public benchmarks")
    return Path(root)


def write(path: Path, *records: object) -> Path:
    path.write_text("".join(json.dumps(r) + "\n" for r in records))
    return path


def record(**changes: object) -> dict[str, object]:
    return GOOD | changes


def problems(path: Path, **options: Any) -> tuple[str, ...]:
    with pytest.raises(BadRecords) as caught:
        read_queries(path, **options)
    return caught.value.problems


# Forms


def test_json_lines_give_queries_in_order_with_all_fields(folder: Path) -> None:
    first = record(answer="A cat.", group="pets", source="web", score=3)
    path = write(folder / "q.jsonl", first, record(id="b", malicious=True))
    one, two = read_queries(path).queries
    assert (one.id, one.question, one.answer, one.group) == ("a", "What is it?", "A cat.", "pets")
    assert one.image == folder / "cat.png"
    assert (one.malicious, two.malicious) == (False, True)
    assert dict(one.metadata) == {"source": "web", "score": "3"}
    assert (two.answer, two.group, dict(two.metadata)) == (None, "", {})


def test_a_json_list_is_read(folder: Path) -> None:
    path = folder / "q.json"
    path.write_text(json.dumps([record(), record(id="b")], indent=1))
    assert [q.id for q in read_queries(path).queries] == ["a", "b"]


def test_a_json_dict_of_records_is_read_with_its_keys_as_ids(folder: Path) -> None:
    path = folder / "q.json"
    body = {k: v for k, v in GOOD.items() if k != "id"}
    path.write_text(json.dumps({"0": body, "17": body}))
    assert [q.id for q in read_queries(path).queries] == ["0", "17"]


@pytest.mark.parametrize("count", [1, 2])
def test_json_lines_under_the_name_json_are_read(folder: Path, count: int) -> None:
    path = write(folder / "q.json", *(record(id=str(i)) for i in range(count)))
    assert len(read_queries(path).queries) == count


def test_json_lines_under_the_name_json_report_their_broken_line(folder: Path) -> None:
    path = write(folder / "q.json", record(), record(id="b"))
    path.write_text(path.read_text() + "{broken\n")
    assert [p.startswith(f"{path}, line 3: not valid JSON") for p in problems(path)] == [True]


def test_csv_is_read_with_line_breaks_inside_quotes(folder: Path) -> None:
    path = folder / "q.csv"
    path.write_text('image,question,malicious\ncat.png,"two\nlines, one comma",1\ncat.png,plain,0\n')
    one, two = read_queries(path).queries
    assert (one.question, one.malicious) == ("two\nlines, one comma", True)
    assert (two.question, two.malicious) == ("plain", False)


@pytest.mark.parametrize(
    "image",
    [png(), {"bytes": png(), "path": None}, {"bytes": png(), "path": "gone.png"}],
    ids=["bytes", "struct", "struct and path"],
)
def test_parquet_images_are_bytes_or_structs_of_bytes(folder: Path, image: object) -> None:
    table = pa.table({"image": [image], "question": ["What?"], "malicious": [True]})
    pq.write_table(table, folder / "q.parquet")
    (query,) = read_queries(folder / "q.parquet").queries
    assert (query.image, query.malicious) == (png(), True)


def test_a_parquet_struct_without_bytes_is_a_path(folder: Path) -> None:
    table = pa.table({"image": [{"bytes": None, "path": "cat.png"}], "question": ["?"], "malicious": [True]})
    pq.write_table(table, folder / "q.parquet")
    assert read_queries(folder / "q.parquet").queries[0].image == folder / "cat.png"


def test_a_byte_order_mark_and_windows_line_ends_are_accepted(folder: Path) -> None:
    path = folder / "q.csv"
    path.write_bytes(b"\xef\xbb\xbfid,image,question,malicious\r\nx,cat.png,Hi?,0\r\n")
    assert read_queries(path).queries[0].id == "x"


def test_a_line_separator_inside_a_text_does_not_end_a_line(folder: Path) -> None:
    path = folder / "q.jsonl"
    path.write_text(json.dumps(record(question="a\u2028b"), ensure_ascii=False) + "\n")
    assert read_queries(path).queries[0].question == "a\u2028b"


def test_blank_lines_are_no_records(folder: Path) -> None:
    path = folder / "q.jsonl"
    path.write_text(f"\n{json.dumps(GOOD)}\n\n")
    assert len(read_queries(path).queries) == 1


# Fields


@pytest.mark.parametrize("prefix", ["", "data:image/png;base64,"])
def test_base64_images_become_bytes(folder: Path, prefix: str) -> None:
    path = write(folder / "q.jsonl", record(image=prefix + base64.b64encode(png()).decode()))
    assert read_queries(path).queries[0].image == png()


def test_a_path_that_begins_like_base64_is_a_path(folder: Path) -> None:
    (folder / "Qk.png").write_bytes(png())
    path = write(folder / "q.jsonl", record(image="Qk.png"))
    assert read_queries(path).queries[0].image == folder / "Qk.png"


def test_image_paths_start_at_the_folder_of_the_file_and_may_leave_it(folder: Path) -> None:
    (folder / "sub").mkdir()
    path = write(folder / "sub" / "q.jsonl", record(image="../cat.png"))
    assert read_queries(path).queries[0].image == folder / "sub" / "../cat.png"


def test_image_paths_start_at_a_given_folder(folder: Path) -> None:
    (folder / "sub").mkdir()
    path = write(folder / "sub" / "q.jsonl", GOOD)
    assert read_queries(path, image_folder=folder).queries[0].image == folder / "cat.png"


def test_images_are_not_opened_at_reading(folder: Path) -> None:
    (folder / "cat.png").write_bytes(b"no image")
    assert read_queries(write(folder / "q.jsonl", GOOD)).queries[0].image == folder / "cat.png"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        *((value, True) for value in (True, 1, 1.0, "1", "1.0", "True", "malicious")),
        *((value, False) for value in (False, 0, 0.0, "0", "0.0", "FALSE", "benign")),
    ],
)
def test_spellings_of_malicious(folder: Path, value: object, expected: bool) -> None:
    path = write(folder / "q.jsonl", record(malicious=value))
    assert read_queries(path).queries[0].malicious is expected


def test_a_default_for_malicious_serves_only_records_that_do_not_say(folder: Path) -> None:
    silent = {k: v for k, v in GOOD.items() if k != "malicious"} | {"id": "b"}
    path = write(folder / "q.jsonl", GOOD, silent)
    assert [q.malicious for q in read_queries(path, malicious=True).queries] == [False, True]


def test_ids_default_to_the_record_number_and_zero_is_an_id(folder: Path) -> None:
    unnamed = {k: v for k, v in GOOD.items() if k != "id"}
    path = write(folder / "q.jsonl", record(id=0), unnamed)
    assert [q.id for q in read_queries(path).queries] == ["0", "2"]


@pytest.mark.parametrize("column", ["Question", "instruction", "prompt", "text"])
def test_benchmark_names_of_the_question_are_known(folder: Path, column: str) -> None:
    path = write(folder / "q.jsonl", {"image": "cat.png", "malicious": 0, column: "Why?"})
    assert read_queries(path).queries[0].question == "Why?"


def test_a_field_can_be_read_from_a_named_column(folder: Path) -> None:
    path = write(folder / "q.jsonl", record(**{"Rephrased Question": "And this?"}))
    read = read_queries(path, columns={"question": "Rephrased Question"})
    assert read.queries[0].question == "And this?"


def test_an_unknown_field_to_read_from_a_column_is_refused(folder: Path) -> None:
    with pytest.raises(InputError, match="no field 'colour'"):
        read_queries(write(folder / "q.jsonl", GOOD), columns={"colour": "x"})


def test_a_blank_answer_is_no_answer(folder: Path) -> None:
    assert read_queries(write(folder / "q.jsonl", record(answer=" "))).queries[0].answer is None


def test_a_query_cannot_be_changed(folder: Path) -> None:
    query = read_queries(write(folder / "q.jsonl", GOOD)).queries[0]
    with pytest.raises(dataclasses.FrozenInstanceError):
        query.question = "other"  # type: ignore[misc]


# Bad records


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"question": ""}, "no question among the columns"),
        ({"question": None}, "no question among the columns"),
        ({"question": 7}, "the question is no text but int"),
        ({"question": "\ud800"}, "not valid Unicode"),
        ({"answer": "\ud800"}, "the answer is not valid Unicode"),
        ({"group": "\ud800"}, "the group is not valid Unicode"),
        ({"image": None}, "no image among the columns"),
        ({"image": "gone.png"}, "neither a file"),
        ({"image": "."}, "neither a file"),
        ({"image": "x" * 5000}, "neither a file"),
        ({"image": "iVBORw0KGgo="[:-2]}, "nor base64"),
        ({"image": "https://example.org/cat.png"}, "neither a file"),
        ({"image": 5}, "neither a path nor bytes but int"),
        ({"malicious": None}, "no column 'malicious'"),
        ({"malicious": "maybe"}, "malicious is 'maybe'"),
    ],
)
def test_a_bad_field_is_named_with_file_and_line(folder: Path, changes: dict[str, object], reason: str) -> None:
    path = write(folder / "q.jsonl", GOOD, record(id="b") | changes)
    (problem,) = problems(path)
    assert problem.startswith(f"{path}, line 2: ")
    assert reason in problem


@pytest.mark.parametrize(
    "line", ["{broken", "[1, 2]", '"text"', "[" * 100_000, '{"id": 1, "id": 2}', "NaN"], ids=lambda s: s[:9]
)
def test_a_bad_line_is_named_among_good_ones(folder: Path, line: str) -> None:
    path = folder / "q.jsonl"
    path.write_text(f"{json.dumps(GOOD)}\n{line}\n")
    (problem,) = problems(path)
    assert problem.startswith(f"{path}, line 2: not ")


def test_all_bad_records_are_reported_at_once(folder: Path) -> None:
    path = write(folder / "q.jsonl", record(question=""), GOOD, record(id="c", image="gone.png"))
    assert [p.split(", ")[1].split(":")[0] for p in problems(path)] == ["line 1", "line 3"]


def test_bad_records_can_be_skipped_and_are_listed(folder: Path) -> None:
    path = write(folder / "q.jsonl", record(question=""), GOOD)
    read = read_queries(path, skip_bad=True)
    assert [q.id for q in read.queries] == ["a"]
    assert [s.startswith(f"{path}, line 1: ") for s in read.skipped] == [True]


def test_a_file_without_a_usable_record_is_refused_even_when_skipping(folder: Path) -> None:
    path = write(folder / "q.jsonl", record(question=""))
    with pytest.raises(BadRecords, match=r"No record of .* is usable"):
        read_queries(path, skip_bad=True)


def test_a_repeated_id_names_both_lines(folder: Path) -> None:
    path = write(folder / "q.jsonl", GOOD, record(id="b"), GOOD)
    (problem,) = problems(path)
    assert problem == f"{path}, line 3: the id 'a' was already used in line 1"


def test_a_repeated_key_of_a_json_dict_is_refused_and_loses_no_record(folder: Path) -> None:
    path = folder / "q.json"
    path.write_text(f'{{"a": {json.dumps(GOOD)},\n "a": {json.dumps(GOOD)}}}')
    with pytest.raises(InputError, match="'a' occurs twice"):
        read_queries(path)


def test_a_csv_row_with_too_many_cells_is_a_bad_record(folder: Path) -> None:
    path = folder / "q.csv"
    path.write_text("image,question,malicious\ncat.png,Yes, or no?,0\ncat.png,Fine?,0\n")
    (problem,) = problems(path)
    assert problem == f"{path}, line 2: more cells than the header"


def test_a_damaged_parquet_image_path_is_named_by_row(folder: Path) -> None:
    table = pa.table({"image": ["cat.png", "gone.png"], "question": ["a", "b"], "malicious": [0, 0]})
    pq.write_table(table, folder / "q.parquet")
    (problem,) = problems(folder / "q.parquet")
    assert "row 2: image 'gone.png'" in problem


# Bad files


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("q.jsonl", b"", "holds no records"),
        ("q.json", b"", "holds no records"),
        ("q.json", b"[]", "holds no records"),
        ("q.json", b"{}", "holds no records"),
        ("q.json", b"3", "holds no records"),
        ("q.csv", b"", "holds no records"),
        ("q.csv", b"id,image,question\n", "holds no records"),
        ("q.csv", b"id,id\n1,2\n", "two columns named 'id'"),
        ("q.csv", b'id,question\n1,"never closed', "line 2: not valid CSV"),
        ("q.parquet", b"", "not a readable Parquet"),
        ("q.parquet", b"PAR1 but no more", "not a readable Parquet"),
        ("q.json", b'[{"id": 1},\n {"id" 2}]', "not valid JSON.*line 2"),
        ("q.jsonl", '{"question": "Größe"}'.encode("latin-1"), "not UTF-8 text .at byte 16"),
        ("q.csv", "id,question".encode("utf-16"), "not UTF-8"),
        ("q.xlsx", b"PK", "unknown kind of file"),
        ("q", b"{}", "unknown kind of file"),
    ],
)
def test_a_bad_file_is_refused_and_named(tmp_path: Path, name: str, content: bytes, reason: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError, match=reason) as caught:
        read_queries(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("name", ["gone.jsonl", "."])
def test_a_missing_file_or_a_folder_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_queries(tmp_path / name)


# Questions


@pytest.mark.parametrize("text", ["", " \n\t"])
def test_an_empty_question_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="is empty"):
        check_question(text, "--question")


@pytest.mark.parametrize("text", ["Is 3 < 4?", "What is an <i>image</i>?", "画像は何ですか", "image"])
def test_ordinary_questions_pass(text: str) -> None:
    check_question(text, "--question")


# Public benchmarks


def test_mm_vet_is_read_with_its_images_in_another_folder(data: Path) -> None:
    folder = data / "mm_vet"
    read = read_queries(folder / "mm-vet.json", malicious=False, image_folder=folder / "images", skip_bad=True)
    assert len(read.queries) + len(read.skipped) == 218
    assert all(q.id.startswith("v1_") and q.answer and Path(q.image).is_file() for q in read.queries)  # type: ignore[arg-type]


def test_mm_safetybench_is_read_once_it_has_a_column_of_images(data: Path, tmp_path: Path) -> None:
    source = data / "mm_safetybench" / "processed_questions" / "01-Illegal_Activitiy.json"
    records = json.loads(source.read_text())
    (tmp_path / "cat.png").write_bytes(png())
    path = tmp_path / "q.json"
    path.write_text(json.dumps({key: r | {"image": "cat.png"} for key, r in records.items()}))
    read = read_queries(path, malicious=True, columns={"question": "Rephrased Question"})
    assert len(read.queries) == len(records)
    assert read.queries[0].question == records["0"]["Rephrased Question"]
    assert read.queries[0].metadata["Key Phrase"] == records["0"]["Key Phrase"]


# What a file may hold beside plain texts


def test_a_number_that_is_none_is_no_answer(folder: Path) -> None:
    path = folder / "q.jsonl"
    path.write_text('{"image": "cat.png", "question": "What?", "malicious": false, "answer": NaN, "score": Infinity}\n')
    query = read_queries(path).queries[0]
    assert (query.answer, dict(query.metadata)) == (None, {})
    table = pa.Table.from_pylist([{"image": "cat.png", "question": "What?", "malicious": 0, "answer": float("nan")}])
    pq.write_table(table, folder / "q.parquet")
    assert read_queries(folder / "q.parquet").queries[0].answer is None


@pytest.mark.parametrize("spelt", ["NFC", "NFD"])
@pytest.mark.parametrize("named", ["NFC", "NFD"])
def test_a_name_with_accents_is_found_however_it_is_spelt(folder: Path, named: Spelling, spelt: Spelling) -> None:
    (folder / unicodedata.normalize(named, "café.png")).write_bytes(png())
    path = write(folder / "q.jsonl", record(image=unicodedata.normalize(spelt, "café.png")))
    assert read_queries(path).queries[0].image == folder / unicodedata.normalize(named, "café.png")


def test_text_in_parquet_that_is_no_utf8_is_named_by_row_and_column(folder: Path) -> None:
    values = pa.StringArray.from_buffers(
        3, pa.py_buffer(np.array([0, 5, 7, 13], np.int32).tobytes()), pa.py_buffer(b"What?\xff\xfeWhere?")
    )
    table = pa.table({"image": ["cat.png"] * 3, "question": values, "malicious": [False] * 3})
    pq.write_table(table, folder / "q.parquet")
    assert problems(folder / "q.parquet") == (
        f"{folder / 'q.parquet'}, row 2: the text in column 'question' is no UTF-8",
    )
    assert [q.question for q in read_queries(folder / "q.parquet", skip_bad=True).queries] == ["What?", "Where?"]
