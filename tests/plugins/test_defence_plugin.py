"""Another package brings defences, by nothing but entry points, and they are used from the command line."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from davsp.api import ask
from davsp.models.base import VisionLanguageModel

MODULE = '''
from pydantic import BaseModel, Field

from davsp.defences.base import Defence
from davsp.defences.fitted_prompt import FittedPrompt
from davsp.models.requests import Request


class MarkedOptions(BaseModel):
    mark: str = Field("theirs", description="What stands before every answer.")


class Marked(Defence):
    """Answers as the model does, after a mark."""

    kind = name = "marked"
    Options = MarkedOptions

    def __init__(self, options):
        self.options = options

    @classmethod
    def from_options(cls, options):
        return cls(options)

    @property
    def identity(self):
        return self.options.model_dump_json()

    async def answer(self, query, exchange):
        return f"{self.options.mark}: {(await exchange.ask(Request(query.question, query.image))).text}"


class LearnedOptions(BaseModel):
    text: str = Field("be careful .", description="The text before every question.")
    seed: int = Field(0, description="Of nothing: this one is quickly fitted.")


class Learned(FittedPrompt):
    """A text before the question, which knows how many queries it was fitted to."""

    kind = "learned"
    about = "A defence of another package."
    FitOptions = LearnedOptions
    fits_queries = True

    @classmethod
    def fit(cls, model, options, data, folder, *, quiet=False):
        metrics = {"queries": len(data.training), "corpus": len(data.corpus)}
        return cls.save_fitted(folder, model, options, prefix=options.text, data={}, metrics=metrics)
'''


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of installed packages that holds one, as an installer leaves it."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "their_defences.py").write_text(MODULE)
    info = folder / "their_defences-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their-defences\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[davsp.defences]\n"
        "marked = their_defences:Marked\n"
        "learned = their_defences:Learned\n"
        "broken = their_defences:Nothing\n"
    )
    return folder


@pytest.fixture
def image(tmp_path: Path) -> Path:
    Image.new("RGB", (80, 60), "white").save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def davsp(package: Path, *arguments: object, status: int = 0) -> str:
    """What `davsp` says where that package is installed: on standard output, or its error."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(package), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(
        [sys.executable, "-m", "davsp", *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == status, done.stderr
    return done.stderr if status else done.stdout


def test_a_defence_of_another_package_answers_questions_with_its_options(
    package: Path, image: Path, model: VisionLanguageModel
) -> None:
    question = "count the shapes ."
    plain = ask(model, image, question)
    assert davsp(package, "ask", image, question, "--defence", "marked:mark=mine") == f"mine: {plain}\n"


def test_it_is_evaluated_beside_those_that_davsp_brings(package: Path, tmp_path: Path) -> None:
    pytest.importorskip("inspect_ai")
    davsp(package, "evaluate", "--defence", "marked", "--per-group", 1, "--limit", 3, "--out", tmp_path / "eval")
    results = json.loads((tmp_path / "eval" / "results.json").read_text())
    assert list(results["defences"]) == ["none", "marked"]
    assert results["cost"]["marked"]["calls"] == 1
    lines = (tmp_path / "eval" / "transcripts.jsonl").read_text().splitlines()
    answers = [json.loads(line)["answers"] for line in lines]
    assert len(answers) == 3
    assert all(said["marked"]["text"] == f"theirs: {said['none']['text']}" for said in answers)


def test_it_is_fitted_saved_and_used_from_its_folder(package: Path, image: Path, tmp_path: Path) -> None:
    folder = tmp_path / "learned"
    assert davsp(package, "fit", "learned", "--set", "text=be brief .", "--out", folder).strip() == str(folder)
    config = json.loads((folder / "config.json").read_text())
    assert (config["kind"], config["prefix"], config["config"]["seed"]) == ("learned", "be brief .", 0)
    assert config["metrics"]["queries"] > 0 and config["metrics"]["corpus"] == 0
    assert davsp(package, "ask", image, "count the shapes .", "--defence", folder).strip()


def test_all_are_listed_and_one_that_cannot_be_loaded_is_told(package: Path, image: Path) -> None:
    assert {"learned,", "marked,", "none,"} <= set(davsp(package, "ask", "--help").replace("│", " ").split())
    told = davsp(package, "ask", image, "what ?", "--defence", "broken", status=2)
    assert "'broken' of their-defences cannot be loaded" in told and "Traceback" not in told


@pytest.mark.slow
def test_the_template_of_an_own_defence_is_used_where_it_lies(
    image: Path, tmp_path: Path, model: VisionLanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(Path(__file__).parents[2] / "examples" / "my_defence.py", tmp_path)
    monkeypatch.chdir(tmp_path)
    words, question = "draw a bomb .", "count the shapes ."
    said = davsp(tmp_path / "nothing", "ask", image, question, "--defence", f"my_defence:Polite:words={words}")
    assert said == ask(model, image, words + "\n" + question) + "\n"
    assert said != ask(model, image, question) + "\n"
    pytest.importorskip("inspect_ai")
    davsp(
        tmp_path / "nothing",
        "evaluate",
        "--defence",
        "my_defence:Polite",
        "--per-group",
        1,
        "--limit",
        3,
        "--out",
        "mine",
    )
    assert list(json.loads((tmp_path / "mine" / "results.json").read_text())["defences"]) == ["none", "polite"]
