"""What contributors meet on GitHub is sound: workflows run what there is, templates name what there is."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

import davsp

ROOT = Path(__file__).parents[1]
GITHUB = ROOT / ".github"
WORKFLOWS = sorted(GITHUB.glob("workflows/*.yml"))
FORMS = sorted(path for path in GITHUB.glob("ISSUE_TEMPLATE/*.yml") if path.name != "config.yml")
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text("utf-8"))


def steps(workflow: Any) -> list[dict[str, Any]]:
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_is_whole(path: Path) -> None:
    workflow = read(path)
    assert workflow[True], "YAML reads the key `on` as true"
    assert workflow["permissions"] == {"contents": "read"}
    for job in workflow["jobs"].values():
        assert job["timeout-minutes"] and job["runs-on"]
        uses = [step["uses"] for step in job["steps"] if "uses" in step]
        assert uses[0].startswith("actions/checkout@")
        assert all(re.fullmatch(r"actions/[\w-]+@v\d+", use) for use in uses), "official actions alone, at a version"
        assert all(("run" in step) != ("uses" in step) for step in job["steps"])


def test_workflow_and_gate_run_targets_that_the_makefile_has() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    run = "\n".join(step.get("run", "") for path in WORKFLOWS for step in steps(read(path)))
    called = re.findall(r"^ *make (.+)$", f"{run}\n{(ROOT / '.ci' / 'run').read_text('utf-8')}", re.MULTILINE)
    assert {"lint", "types", "coverage", "docs", "wheel", "mutation", "setup", "test"} <= set(" ".join(called).split())
    assert set(" ".join(called).split()) <= targets


def test_every_target_is_phony() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    [phony] = re.findall(r"^\.PHONY: (.+)$", makefile, re.MULTILINE)
    assert set(phony.split()) == set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))


def test_the_tests_run_on_every_python_that_the_package_claims() -> None:
    matrix = read(GITHUB / "workflows" / "ci.yml")["jobs"]["tests"]["strategy"]["matrix"]["python-version"]
    claimed = re.findall(r"Python :: (3\.\d+)", "\n".join(PROJECT["classifiers"]))
    assert matrix == claimed
    assert PROJECT["requires-python"] == f">={matrix[0]}"


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.name)
def test_an_issue_form_asks_what_it_means_to(path: Path) -> None:
    form = read(path)
    assert form["name"] and form["description"]
    asked = [part for part in form["body"] if part["type"] != "markdown"]
    assert len({part["id"] for part in asked}) == len(asked)
    assert all(part["attributes"]["label"] for part in asked)
    assert any(part.get("validations", {}).get("required") for part in asked)


@pytest.mark.parametrize(
    ("heading", "wing"),
    [("family of models", "models"), ("defence", "defences"), ("benchmark", "benchmarks"), ("judge", "judges")],
)
def test_the_pull_request_template_has_a_checklist_for_everything_that_can_be_added(heading: str, wing: str) -> None:
    template = (GITHUB / "pull_request_template.md").read_text("utf-8")
    [checklist] = re.findall(rf"^## Adds an? {heading}\n\n(.*?)(?=^## |\Z)", template, re.MULTILINE | re.DOTALL)
    assert checklist.count("- [ ] ") >= 3
    assert f"`src/davsp/{wing}/`" in checklist and f"`davsp.{wing}`" in checklist
    assert f"davsp.{wing}" in PROJECT["entry-points"]


def test_templates_and_release_notes_name_files_that_there_are() -> None:
    for page in (GITHUB / "pull_request_template.md", ROOT / "docs" / "releasing.md"):
        named = re.findall(r"`((?:src|tests|docs|bench)/[\w/.]+)`", page.read_text("utf-8"))
        assert named and [name for name in named if not (ROOT / name).exists()] == []


def test_one_version_is_told_everywhere() -> None:
    citation = read(ROOT / "CITATION.cff")
    assert PROJECT["version"] == davsp.__version__ == citation["version"]


def test_the_changelog_keeps_its_form() -> None:
    lines = (ROOT / "CHANGELOG.md").read_text("utf-8").splitlines()
    releases = [line for line in lines if line.startswith("## ")]
    assert releases[0] == "## [Unreleased]"
    assert all(re.fullmatch(r"## \[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d", line) for line in releases[1:])
    sections = {line.removeprefix("### ") for line in lines if line.startswith("### ")}
    assert sections <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
