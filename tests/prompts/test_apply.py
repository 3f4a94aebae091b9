"""Applying a prompt to files: trees mirrored, bad images reported, nothing half-written."""

import io
import os
import threading
from pathlib import Path

import pytest
from PIL import Image, ImageOps

from davsp.errors import InputError, StorageError
from davsp.prompts import apply
from davsp.prompts.apply import SizeChange, apply_to_file, apply_to_folder, apply_to_stream, size_line


class Frame:
    """A stand-in prompt: a green frame on an 8 x 8 canvas. Counts the images it was given."""

    def __init__(self, identity: str = "green") -> None:
        self.applied, self.identity = 0, identity

    def apply_to_image(self, image: Image.Image) -> Image.Image:
        self.applied += 1
        return ImageOps.expand(image.resize((6, 6)), 1, (0, 255, 0))


class Interrupted(Frame):
    """A prompt during whose first image the user presses Ctrl-C."""

    def __init__(self) -> None:
        super().__init__()
        self.pressed = threading.Event()

    def apply_to_image(self, image: Image.Image) -> Image.Image:
        self.pressed.set()
        return super().apply_to_image(image)


def save(path: Path, colour: str = "red") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (10, 5), colour).save(path)
    return path


def tree(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def assert_framed(image: Image.Image) -> None:
    assert (image.format, image.mode, image.size) == ("PNG", "RGB", (8, 8))
    assert image.getpixel((0, 0)) == (0, 255, 0)


def age(path: Path, seconds: float) -> None:
    time = path.stat().st_mtime - seconds
    os.utime(path, (time, time))


# One image


def test_a_file_gets_the_prompt_and_becomes_png(tmp_path: Path) -> None:
    source = save(tmp_path / "a.bmp", "blue")
    apply_to_file(Frame(), source, tmp_path / "new" / "out.png")
    with Image.open(tmp_path / "new" / "out.png") as image:
        assert_framed(image)
        assert image.getpixel((4, 4)) == (0, 0, 255)


def test_a_stream_gets_the_prompt_and_becomes_png(tmp_path: Path) -> None:
    content = save(tmp_path / "a.bmp").read_bytes()
    assert_framed(Image.open(io.BytesIO(apply_to_stream(Frame(), content))))


def test_a_bad_stream_is_refused_by_name() -> None:
    with pytest.raises(InputError, match=r"^standard input is empty"):
        apply_to_stream(Frame(), b"")


def test_an_output_that_is_not_named_png_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"ends in \.png"):
        apply_to_file(Frame(), save(tmp_path / "a.png"), tmp_path / "out.jpg")


def test_a_file_is_not_written_over_itself(tmp_path: Path) -> None:
    source = save(tmp_path / "a.png")
    before = source.read_bytes()
    with pytest.raises(InputError, match="is the image itself"):
        apply_to_file(Frame(), source, tmp_path / "x" / ".." / "a.png")
    assert source.read_bytes() == before


def test_a_bad_file_writes_nothing(tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"no image")
    with pytest.raises(InputError, match="not an image"):
        apply_to_file(Frame(), tmp_path / "bad.png", tmp_path / "out.png")
    assert tree(tmp_path) == ["bad.png"]


# A folder


def test_a_folder_is_mirrored_as_png(tmp_path: Path) -> None:
    source, target = tmp_path / "in", tmp_path / "out"
    for name in ("a.jpg", "b/c.WEBP", "b/d/e.v2.bmp"):
        save(source / name)
    (source / "notes.txt").write_text("no image")
    (source / "._a.jpg").write_bytes(b"what macOS leaves")
    summary = apply_to_folder(Frame(), source, target, workers=2)
    assert (summary.written, summary.skipped, summary.failed) == (3, 0, ())
    assert tree(target) == ["a.png", "b/c.png", "b/d/e.v2.png"]
    with Image.open(target / "b" / "c.png") as image:
        assert_framed(image)


def test_a_second_run_skips_what_is_newer_than_its_source(tmp_path: Path) -> None:
    source, target = tmp_path / "in", tmp_path / "out"
    old, changed = save(source / "old.png"), save(source / "changed.png")
    age(old, 100)
    age(changed, 100)
    apply_to_folder(Frame(), source, target)
    age(target / "changed.png", 200)
    prompt = Frame()
    summary = apply_to_folder(prompt, source, target)
    assert (summary.written, summary.skipped, prompt.applied) == (1, 1, 1)


def test_outputs_of_another_prompt_or_of_none_are_made_again(tmp_path: Path) -> None:
    source, target = tmp_path / "in", tmp_path / "out"
    age(save(source / "a.png"), 100)
    apply_to_folder(Frame("an older prompt"), source, target)
    assert apply_to_folder(Frame(), source, target).written == 1
    assert apply_to_folder(Frame(), source, target).written == 0
    save(target / "a.png")
    assert apply_to_folder(Frame(), source, target).written == 1


def test_overwrite_makes_everything_again(tmp_path: Path) -> None:
    source, target = tmp_path / "in", tmp_path / "out"
    age(save(source / "a.png"), 100)
    apply_to_folder(Frame(), source, target)
    assert apply_to_folder(Frame(), source, target, overwrite=True).written == 1


def test_a_bad_image_is_reported_and_the_others_are_written(tmp_path: Path) -> None:
    source, target = tmp_path / "in", tmp_path / "out"
    for name in ("a.png", "z.png"):
        save(source / name)
    (source / "bad.jpg").write_bytes(b"no image")
    (source / "broken-link.png").symlink_to(source / "nowhere.png")
    summary = apply_to_folder(Frame(), source, target)
    assert summary.written == 2
    assert [str(source / "bad.jpg") in summary.failed[0], "no such file" in summary.failed[1]] == [True, True]
    assert tree(target) == ["a.png", "z.png"]


def test_two_images_with_one_output_are_refused_before_any_work(tmp_path: Path) -> None:
    source = tmp_path / "in"
    for name in ("a.jpg", "a.png", "b.png"):
        save(source / name)
    with pytest.raises(InputError, match=r"a\.jpg and .*a\.png would both become"):
        apply_to_folder(Frame(), source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_outputs_inside_the_source_are_not_taken_as_input(tmp_path: Path) -> None:
    save(tmp_path / "a.png")
    save(tmp_path / "b" / "a.png")
    for _ in range(2):
        apply_to_folder(Frame(), tmp_path, tmp_path / "out", overwrite=True)
    assert tree(tmp_path / "out") == ["a.png", "b/a.png"]


@pytest.mark.parametrize("target", [".", ".."])
def test_an_output_folder_that_contains_the_images_is_refused(tmp_path: Path, target: str) -> None:
    source = tmp_path / "in"
    save(source / "a.jpg")
    with pytest.raises(InputError, match="Choose another output folder"):
        apply_to_folder(Frame(), source, source / target)
    assert tree(tmp_path) == ["in/a.jpg"]


def test_link_loops_end(tmp_path: Path) -> None:
    source = tmp_path / "in"
    save(source / "a.png")
    (source / "loop").symlink_to(source, target_is_directory=True)
    (source / "self.png").symlink_to(source / "self.png")
    summary = apply_to_folder(Frame(), source, tmp_path / "out")
    assert (summary.written, len(summary.failed)) == (1, 1)


@pytest.mark.parametrize("name", ["gone", "file.png"])
def test_a_source_that_is_no_folder_is_refused(tmp_path: Path, name: str) -> None:
    save(tmp_path / "file.png")
    with pytest.raises(InputError, match="is not a folder"):
        apply_to_folder(Frame(), tmp_path / name, tmp_path / "out")


def test_a_folder_that_cannot_be_read_is_named_and_not_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path / "in" / "a.png")
    save(tmp_path / "in" / "locked" / "b.png")
    scandir = os.scandir

    def forbidding(folder: str) -> object:
        if Path(folder).name == "locked":
            raise PermissionError(13, "Permission denied", str(folder))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", forbidding)
    with pytest.raises(InputError, match="locked cannot be read: Permission denied"):
        apply_to_folder(Frame(), tmp_path / "in", tmp_path / "out")


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    with pytest.raises(InputError, match="there are no images"):
        apply_to_folder(Frame(), tmp_path / "in", tmp_path / "out")


def test_an_output_that_cannot_be_written_stops_the_work(tmp_path: Path) -> None:
    save(tmp_path / "in" / "a.png")
    (tmp_path / "out").write_text("a file in the way")
    with pytest.raises(StorageError, match="cannot write"):
        apply_to_folder(Frame(), tmp_path / "in", tmp_path / "out")


def test_ctrl_c_leaves_whole_files_only_and_starts_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, target = tmp_path / "in", tmp_path / "out"
    for i in range(50):
        save(source / f"{i}.png")
    prompt = Interrupted()

    def interrupted(jobs: object) -> object:
        prompt.pressed.wait(10)
        raise KeyboardInterrupt

    monkeypatch.setattr(apply, "as_completed", interrupted)
    with pytest.raises(KeyboardInterrupt):
        apply_to_folder(prompt, source, target, workers=1)
    assert 1 <= prompt.applied < 50
    assert len(tree(target)) == prompt.applied
    for name in tree(target):
        with Image.open(target / name) as image:
            assert_framed(image)


def test_nothing_is_printed_where_no_terminal_is(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    save(tmp_path / "in" / "a.png")
    apply_to_folder(Frame(), tmp_path / "in", tmp_path / "out")
    assert capfd.readouterr() == ("", "")


def test_sizes_are_told_from_the_smallest_to_the_largest() -> None:
    one, two = SizeChange((2000, 1500), (112, 112)), SizeChange((30, 20), (112, 112))
    assert size_line([one]).startswith("2000 x 1500 pixels became 112 x 112: ")
    assert size_line([one, two]).startswith("30 x 20 to 2000 x 1500 pixels became 112 x 112: ")
