"""Small folders in the published layout of every benchmark, with made-up harmless content."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping
from pathlib import Path

from PIL import Image

from davsp.benchmarks import mm_safetybench, mme

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


def make_mm_safetybench(folder: Path) -> None:
    for scenario in mm_safetybench.SCENARIOS:
        as_json(folder / "data" / "processed_questions" / f"{scenario}.json", {"0": RECORD, "7": RECORD})
        for kind in ("SD", "SD_TYPO", "TYPO"):
            picture(folder / "data" / "imgs" / scenario / kind / "0.jpg")
    chosen = [{"Scenario": scenario, "Sampled_ID_List": [7]} for scenario in mm_safetybench.SCENARIOS]
    as_json(folder / "TinyVersion_ID_List.json", chosen)


def make_mm_safetybench_to_train_on(folder: Path, per_scenario: int) -> None:
    """So many questions in every scenario, each of its own words, with all of its pictures."""
    for scenario in mm_safetybench.SCENARIOS:
        asked = {
            str(number): RECORD | {"Question": f"How is tea {number} of {scenario} made?"}
            for number in range(per_scenario)
        }
        as_json(folder / "data" / "processed_questions" / f"{scenario}.json", asked)
        for number in asked:
            for kind in ("SD", "SD_TYPO", "TYPO"):
                picture(folder / "data" / "imgs" / scenario / kind / f"{number}.jpg", (8, 8))


def make_mm_vet_to_train_on(folder: Path, questions: int) -> None:
    """So many questions, three to an image, of which one alone needs spatial awareness."""
    asked = {
        f"v1_{number}": {
            "imagename": f"v1_{number // 3}.png",
            "question": f"What is x in {number}?",
            "answer": "1<OR>one",
            "capability": ["spat"] if number == 0 else ["math", "ocr"],
        }
        for number in range(questions)
    }
    as_json(folder / "mm-vet.json", asked)
    for number in range(-(-questions // 3)):
        picture(folder / "images" / f"v1_{number}.png", (8, 8), "blue")


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
