"""The wheel is whole: in an environment that has davsp from nowhere else, the demo runs from any folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

from davsp.testbed.smol.parts import PACKAGE as PACKAGE_OF_PARTS
from davsp.testbed.smol.parts import find_parts

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "davsp"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel that `make wheel` builds."""
    pytest.importorskip("hatchling", reason="builds the wheel: pip install hatchling, which the extra `dev` has")
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    [built] = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new environment with the wheel, installed as pip does, and this one's packages but for davsp's own traces.

    Installing torch and transformers anew would take minutes and gigabytes, and show nothing of the wheel.
    """
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps", "--no-index", str(wheel)]
    subprocess.run(install, check=True, capture_output=True)
    others = folder / "others"
    others.mkdir()
    for site in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:
        for entry in Path(site).iterdir():
            if "davsp" not in entry.name and entry.suffix != ".pth":
                (others / entry.name).symlink_to(entry)
    [own] = folder.glob("lib/python*/site-packages")
    (own / "others.pth").write_text(f"{others}\n")
    return folder


def run(command: list[object], folder: Path) -> str:
    """What a command prints to standard output, run in a folder of its own without any trace of the checkout."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "COV", "DAVSP", "VIRTUAL_ENV"))}
    done = subprocess.run(list(map(str, command)), cwd=folder, env=clean, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_holds_every_file_of_the_package_and_nothing_else(wheel: Path) -> None:
    names = {Path(name) for name in zipfile.ZipFile(wheel).namelist()}
    held = {name for name in names if ".dist-info" not in name.parts[0]}
    wanted = {path.relative_to(PACKAGE.parent) for path in PACKAGE.rglob("*") if path.is_file()}
    assert held == {path for path in wanted if "__pycache__" not in path.parts}
    suffixes = {path.suffix for path in held}
    assert {".py", ".json", ".j2", ".jinja", ".safetensors", ".typed", ".md"} <= suffixes
    assert any(name.parts[1:] == ("licenses", "LICENSE") for name in names - held)


def test_the_wheel_declares_the_extras_and_the_entry_points_of_the_project_and_brings_what_they_name(
    wheel: Path, environment: Path
) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    groups = {**project["entry-points"], "console_scripts": project["scripts"]}
    code = """
import json, sys
from importlib.metadata import distributions
[own] = [found for found in distributions() if found.name == "davsp"]
points = [(point.group, point.name, point.value) for point in own.entry_points if point.load()]
print(json.dumps({"version": own.version, "points": points, "extras": own.metadata.get_all("Provides-Extra")}))
"""
    told = json.loads(run([environment / "bin" / "python", "-c", code], environment))
    assert told["version"] == project["version"]
    assert sorted(map(tuple, told["points"])) == sorted(
        (group, name, value) for group, points in groups.items() for name, value in points.items()
    )
    assert sorted(told["extras"]) == sorted(project["optional-dependencies"])


def test_the_demo_runs_from_the_wheel_in_an_empty_folder(environment: Path, tmp_path: Path) -> None:
    where = run([environment / "bin" / "python", "-c", "import davsp; print(davsp.__file__)"], tmp_path)
    assert Path(where.strip()).is_relative_to(environment)
    run([environment / "bin" / "davsp", "demo", "--per-group", "2", "--steps", "2"], tmp_path)
    demo = tmp_path / "runs" / "demo"
    for name in ("results.json", "report.html", "davsp/config.json", "davsp/README.md", "davsp/model.safetensors"):
        assert (demo / name).stat().st_size > 0, name
    assert str(ROOT) not in (demo / "report.html").read_text("utf-8")


def test_the_package_of_trained_parts_holds_them_as_they_are_pinned(tmp_path: Path) -> None:
    pytest.importorskip("hatchling", reason="builds the wheel: pip install hatchling, which the extra `dev` has")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path)]
    subprocess.run([*command, str(ROOT / "packages" / PACKAGE_OF_PARTS)], check=True, capture_output=True)
    [built] = tmp_path.glob("*.whl")
    with zipfile.ZipFile(built) as archive:
        archive.extractall(tmp_path)
        assert any(name.endswith("licenses/LICENSE") for name in archive.namelist())
    assert find_parts(tmp_path / "davsp_testbed_smol")
