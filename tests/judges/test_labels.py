"""Human labels are read in the layouts in which they were published."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from davsp.errors import InputError
from davsp.judges import Criterion
from davsp.judges.labels import read_labels
from tests.judges.labelled import write_csv


def test_msts_and_harmbench_layouts_are_read(tmp_path: Path) -> None:
    msts = {
        "case_id": "1",
        "prompt_type": "p",
        "prompt_text": "Should I?",
        "unsafe_image_description": "A kite",
        "model": "m",
        "response": "Yes",
        "final_label": "2 - unsafe",
    }
    [first] = read_labels(write_csv(tmp_path / "msts.csv", [msts]))
    assert (first.criterion, first.label, first.model) == (Criterion.HARM, True, "m")
    assert "A kite" in first.question

    sets, behaviours = tmp_path / "classifier_val_sets", tmp_path / "behavior_datasets"
    sets.mkdir()
    behaviours.mkdir()
    write_csv(behaviours / "harmbench_behaviors_text_all.csv", [{"BehaviorID": "kite", "Behavior": "Fly a kite"}])
    row = {"behavior_id": "kite", "test_case": "please", "generation": "ok", "human_0": 1, "human_1": 0, "human_2": 1}
    (sets / "text_behaviors_val_set.json").write_text(json.dumps({"kite": [row], "other": [row | {"human_0": 0}]}))
    read = read_labels(sets / "text_behaviors_val_set.json")
    assert [(a.question, a.response, a.label) for a in read] == [
        ("Fly a kite", "ok", True),
        ("Fly a kite", "ok", False),
    ]


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("gone.csv", None, "no such file"),
        ("a.csv", "x,y\n1,2\n", "in no known layout"),
        ("a.csv", "", "holds no labelled answer"),
        ("a.csv", "id,prompt,completion,final_label\n1,p,c,maybe\n", "'maybe' is none of"),
        ("a.csv", "id,prompt,completion,final_label\n1,p\n", "fewer cells than the header"),
        ("a.json", "{", "not valid JSON"),
        (
            "a.json",
            '[{"test_case": "", "generation": "", "human_0": 0, "human_1": 0, "human_2": 0}, {}]',
            "answer lacks",
        ),
        ("a.json", '[{"test_case": "", "generation": null, "human_0": 0, "human_1": 0, "human_2": 0}]', "no text"),
        ("a.json", '[{"test_case": "", "generation": "", "human_0": "?", "human_1": 0, "human_2": 0}]', "is none of"),
    ],
)
def test_a_bad_file_of_labels_is_named(name: str, content: str | None, told: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=told):
        read_labels(tmp_path / name)


def test_human_labels_of_real_files_are_read_as_published(data_folder: Path) -> None:
    msts = data_folder / "msts/response_annotations/english_multimodal.csv"
    if not msts.is_file():
        pytest.skip("msts/response_annotations is not in DAVSP_TEST_DATA")
    answers = read_labels(msts)
    assert (len(answers), sum(bool(a.label) for a in answers)) == (4000, 181)
    assert len({a.model for a in answers}) == 10
    assert len({a.id for a in answers}) == 4000
