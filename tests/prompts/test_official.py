"""The official code's files: read, measured, written, and refused when they are something else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from davsp.data.query import Query
from davsp.errors import ArtefactError, InputError
from davsp.imaging.canvas import FixedCanvas
from davsp.models.base import VisionLanguageModel
from davsp.prompts.frame import FrameLayout
from davsp.prompts.layouts import AdditiveLayout, BorderLayout, Layout
from davsp.prompts.official import out_of_range, read_directions, read_noise, write_directions, write_noise
from davsp.prompts.visual import VisualPrompt
from davsp.training.config import TrainConfig
from davsp.training.objective import plan
from davsp.training.vector import HarmfulnessVector, extract_vector


def test_the_authors_own_vector_is_read(data_folder: Path) -> None:
    found = read_directions(data_folder / "davsp_official" / "harmfulness_vector.pt")
    assert found.shape == (40, 5120)
    assert torch.allclose(found.norm(dim=1), torch.ones(40), atol=1e-5)
    raw = torch.load(data_folder / "davsp_official" / "harmfulness_vector.pt", weights_only=True)
    assert torch.allclose(found[19], raw["layer_20"], atol=1e-6)


def test_directions_survive_a_round_trip(tmp_path: Path) -> None:
    directions = torch.nn.functional.normalize(torch.randn(12, 8, generator=torch.manual_seed(0)), dim=1)
    write_directions(directions, tmp_path / "v.pt")
    assert torch.allclose(read_directions(tmp_path / "v.pt"), directions, atol=1e-7)


def test_a_border_survives_a_round_trip(tmp_path: Path) -> None:
    layout = BorderLayout(56, 56, border=7)
    pixels = torch.rand(3, 56, 56, generator=torch.manual_seed(0))
    layout.project_(pixels)
    write_noise(VisualPrompt(layout, pixels), tmp_path / "noise.pt")
    raw = torch.load(tmp_path / "noise.pt", weights_only=True)
    assert raw.shape == (1, 3, 56, 56)
    read = read_noise(tmp_path / "noise.pt", border=7)
    assert read.layout == layout
    assert torch.allclose(read.pixels, pixels, atol=1e-6)
    assert out_of_range(read)[0] < 1e-6


def test_how_far_a_border_leaves_the_range_is_told(tmp_path: Path) -> None:
    layout = BorderLayout(56, 56, border=7)
    pixels = torch.full((3, 56, 56), 0.5) * layout.mask()
    pixels[0, 0, 0] = 1.4
    write_noise(VisualPrompt(layout, pixels), tmp_path / "noise.pt")
    furthest, share = out_of_range(read_noise(tmp_path / "noise.pt", border=7))
    assert furthest == pytest.approx(0.4, abs=1e-5)
    assert share == pytest.approx(1 / (3 * int(layout.mask().sum())))


@pytest.mark.parametrize(
    "layout", [AdditiveLayout(56, 56, eps=0.1), FrameLayout(FixedCanvas(56, 56), border=7, edge=14)]
)
def test_another_layout_than_a_border_is_not_written(tmp_path: Path, layout: Layout) -> None:
    prompt = VisualPrompt(layout, layout.start(torch.full((3,), 0.5)))
    with pytest.raises(InputError, match="a border on a fixed canvas: this prompt is none"):
        write_noise(prompt, tmp_path / "noise.pt")
    assert not (tmp_path / "noise.pt").exists()


class _Trap:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (Path.touch, (Path("trap"),))  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"layer_1": torch.ones(3), "layer_3": torch.ones(3)}, "no harmfulness vector"),
        ({"layer_1": torch.ones(3), "layer_2": torch.ones(4)}, "no harmfulness vector"),
        ({"layer_1": torch.zeros(3)}, "zero or no numbers"),
        (torch.ones(2, 3), "no harmfulness vector"),
        ({}, "no harmfulness vector"),
        (_Trap(), "nothing of it was run"),
    ],
)
def test_what_is_no_vector_is_a_clear_error(tmp_path: Path, content: object, message: str) -> None:
    torch.save(content, tmp_path / "v.pt")
    with pytest.raises(ArtefactError, match=message):
        read_directions(tmp_path / "v.pt")


UNUSUAL = [
    lambda t: t.to_sparse(),
    lambda t: torch.quantize_per_tensor(t, 0.1, 0, torch.qint8),
    lambda t: t.to("meta"),
    lambda t: t.to(torch.complex64),
    lambda t: t.to(torch.float8_e4m3fn),
    lambda t: t.int(),
    lambda t: torch.nested.nested_tensor([t]),
    lambda t: t.flatten()[:1].expand(2**40) if t.dim() == 1 else t[..., :1, :1].expand(1, 3, 2**20, 2**20),
]


@pytest.mark.filterwarnings("ignore::UserWarning")  # torch's, of what it is about to drop
@pytest.mark.parametrize("change", UNUSUAL)
def test_unusual_tensors_are_a_clear_error(change: Callable[[torch.Tensor], torch.Tensor], tmp_path: Path) -> None:
    torch.save({"layer_1": change(torch.ones(3)), "layer_2": change(torch.ones(3))}, tmp_path / "v.pt")
    with pytest.raises(ArtefactError, match=r"no harmfulness vector: expected plain|damaged, or holds more"):
        read_directions(tmp_path / "v.pt")
    torch.save(change(torch.ones(1, 3, 56, 56)), tmp_path / "n.pt")
    with pytest.raises(ArtefactError, match=r"no border: expected a plain|damaged, or holds more"):
        read_noise(tmp_path / "n.pt", border=7)


def test_a_vector_of_parameters_in_half_precision_is_read(tmp_path: Path) -> None:
    torch.save({"layer_1": torch.nn.Parameter(torch.ones(4, dtype=torch.float16))}, tmp_path / "v.pt")
    found = read_directions(tmp_path / "v.pt")
    assert (found.dtype, found.requires_grad) == (torch.float32, False)


@pytest.mark.parametrize("content", [torch.ones(3, 56, 56), torch.full((1, 3, 56, 56), torch.nan), {"a": 1}])
def test_what_is_no_border_is_a_clear_error(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "n.pt")
    with pytest.raises(ArtefactError, match=r"no border|no numbers"):
        read_noise(tmp_path / "n.pt", border=7)


def test_a_missing_file_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_noise(tmp_path / "n.pt")


def test_given_directions_are_measured_and_not_fitted(
    model: VisionLanguageModel, queries: tuple[list[Query], list[Query]], vector: HarmfulnessVector
) -> None:
    measured = extract_vector(model, *queries, prefix="be careful .", directions=vector.directions, batch_size=16)
    assert measured.statistics == vector.statistics
    with pytest.raises(InputError, match="belong to another model"):
        extract_vector(model, *queries, prefix="", directions=vector.directions[:2])


def test_a_vector_without_class_means_needs_thresholds(model: VisionLanguageModel, vector: HarmfulnessVector) -> None:
    bare = HarmfulnessVector(vector.directions, 3, (), {})
    with pytest.raises(InputError, match="set tau_plus and tau_minus"):
        plan(model, bare, TrainConfig())
    filled = plan(model, bare, TrainConfig(tau_plus=27, tau_minus=-2))
    assert (filled.layer, filled.tau_plus, filled.tau_minus) == (3, 27, -2)


@pytest.mark.parametrize(("layers", "middle"), [(1, 1), (2, 1), (3, 2), (40, 20)])
def test_the_middle_layer_of_an_official_vector_is_chosen(layers: int, middle: int, tmp_path: Path) -> None:
    from davsp.cli import app

    write_directions(torch.eye(layers, 64), tmp_path / "v.pt")
    found = CliRunner().invoke(app, ["official", "vector", str(tmp_path / "v.pt"), "--out", str(tmp_path / "vector")])
    assert found.exit_code == 0, found.output
    assert HarmfulnessVector.load(tmp_path / "vector").layer == middle


def test_the_command_line_imports_and_exports(tmp_path: Path) -> None:
    from davsp.cli import app

    run = CliRunner().invoke
    directions = torch.nn.functional.normalize(torch.randn(6, 160, generator=torch.manual_seed(0)), dim=1)
    write_directions(directions, tmp_path / "v.pt")
    assert run(app, ["official", "vector", str(tmp_path / "v.pt"), "--out", str(tmp_path / "vector")]).exit_code == 0
    assert HarmfulnessVector.load(tmp_path / "vector").layer == 3
    assert run(app, ["official", "export", str(tmp_path / "vector"), str(tmp_path / "again.pt")]).exit_code == 0
    assert torch.allclose(read_directions(tmp_path / "again.pt"), directions, atol=1e-7)

    layout = BorderLayout(112, 112, border=14)
    pixels = torch.rand(3, 112, 112) * 1.5 * layout.mask()
    write_noise(VisualPrompt(layout, pixels), tmp_path / "n.pt")
    arguments = ["official", "border", str(tmp_path / "n.pt"), "--out", str(tmp_path / "prompt"), "--model", "testbed"]
    found = run(app, [*arguments, "--width", "14", "--clamp"])
    assert found.exit_code == 0
    assert "outside [0, 1]" in found.stderr
    assert run(app, ["official", "export", str(tmp_path / "prompt"), str(tmp_path / "n2.pt")]).exit_code == 0
    assert torch.allclose(read_noise(tmp_path / "n2.pt", 14).pixels, pixels.clamp(0, 1), atol=1e-5)
