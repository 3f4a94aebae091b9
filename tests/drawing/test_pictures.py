"""Pictures of texts are legible and whole, and the two of a pair look alike."""

from __future__ import annotations

import io
import random
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw
from scipy.ndimage import label

from davsp.drawing.kinds import REQUEST_KINDS, Kind, check_legible, draw_alike
from davsp.drawing.lettering import largest_fit, smallest_size, wrap
from davsp.drawing.shapes import COLOURS, MOST, SHAPES, colour_question, count_question, draw_shape
from davsp.drawing.typefaces import SHIPPED, typefaces, width
from davsp.errors import InputError
from davsp.imaging.opening import png_bytes
from davsp.judges.scoring import check_scoring, scoring_named

TEXTS = (
    "Go",
    "How do I bake a bomb cake?",
    "Wie backe ich einen großen Apfelkuchen für zwölf Gäste, ohne dass der Teig am Boden „anbrennt“?",
    "Напиши рецепт борща, Γράψε μια συνταγή, napište příběh o žluťoučkém koni, który śpiewał wśród łąk",
    "Describe https://example.org/a/very/long/address/that/no/line/can/hold/without/a/break?of=its&own=1",
    "Donaudampfschifffahrtsgesellschaft " * 5,
    "jjj ÅÅÅ ggg ÇÇÇ " * 14,
)
WRITTEN = (Kind.FIGSTEP, Kind.TYPO, Kind.SD_TYPO, Kind.READING)


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image).astype(int)


@pytest.mark.parametrize("side", [224, 448])
@pytest.mark.parametrize("kind", WRITTEN)
def test_no_letter_is_cut_off(kind: Kind, side: int) -> None:
    for text in TEXTS:
        check_legible(kind, text, side, SHIPPED)
        for seed in range(6):
            [(image, _)] = draw_alike(kind, [text], side, SHIPPED, str(seed))
            assert image.size == (side, side)
            shown = pixels(image)[round(0.6 * side) if kind is Kind.SD_TYPO else 0 :]
            edges = np.concatenate([shown[:, :2], shown[:, -2:]], axis=1).reshape(-1, 3)
            rows = [shown[-2:].reshape(-1, 3)] + ([] if kind is Kind.SD_TYPO else [shown[:2].reshape(-1, 3)])
            assert (np.concatenate([edges, *rows]) == shown[-1, 0]).all()
            assert (shown != shown[-1, 0]).any()


def test_lines_hold_all_of_the_text_and_none_is_too_wide() -> None:
    file = SHIPPED.running[0]
    for text in TEXTS:
        lines = wrap(text, file, 20, 150)
        assert "".join(lines).replace(" ", "") == text.replace(" ", "")
        assert all(width(file, 20, line) <= 150 for line in lines)


def test_words_are_broken_only_where_nothing_else_fits() -> None:
    file, text = SHIPPED.running[0], "An extraordinarily incomprehensible internationalisation"
    size = largest_fit(text, file, (0, 0, 300, 300), 80, 10)
    assert size is not None and size < 80
    assert all(word in text.split() for line in wrap(text, file, size, 300) for word in line.split())


@pytest.mark.parametrize("kind", WRITTEN)
def test_texts_that_are_too_long_to_be_legible_are_refused(kind: Kind) -> None:
    with pytest.raises(InputError, match=rf"too many to be legible as {kind} in an image of 224 x 224"):
        check_legible(kind, "bake a cake " * 80, 224, SHIPPED)
    assert smallest_size(448) >= 16


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("写一首诗", r"U\+5199 \(CJK UNIFIED IDEOGRAPH-5199\) is not in the typeface DejaVuSans.ttf"),
        ("😀", r"U\+1F600 \(GRINNING FACE\) is not in the typeface DejaVuSerif.ttf"),
        ("שלום", r"U\+05E9 \(HEBREW LETTER SHIN\) is written from right to left"),
        ("a\u200bb", r"U\+200B \(ZERO WIDTH SPACE\) is a control character"),
        ("bell \x07", r"U\+0007 is a control character"),
        ("x\u0332", r"U\+0332 \(COMBINING LOW LINE\) is put on or around"),
    ],
)
def test_what_cannot_be_drawn_is_refused_by_name(text: str, named: str) -> None:
    with pytest.raises(InputError, match=named):
        SHIPPED.check(text)


def test_letters_of_europe_can_be_drawn() -> None:
    for text in TEXTS:
        SHIPPED.check(text)


def test_fonts_are_the_users_or_those_that_come_with_davsp(tmp_path: Path) -> None:
    assert typefaces() == SHIPPED
    serif = SHIPPED.running[1]
    assert typefaces([serif]).running == (serif,) and typefaces([serif]).list == serif
    (tmp_path / "no.ttf").write_text("no font")
    with pytest.raises(InputError, match=r"no.ttf is no font that can be read"):
        typefaces([tmp_path / "no.ttf"])
    with pytest.raises(InputError, match=r"none.ttf: no such file"):
        typefaces([tmp_path / "none.ttf"])


@pytest.mark.parametrize("kind", REQUEST_KINDS)
def test_pairs_have_one_look(kind: Kind) -> None:
    first, second = "How do I bake a bomb cake?", "How do I bake a nice cake?"
    for seed in range(8):
        (one, asked), (other, also_asked) = draw_alike(kind, [first, second], 224, SHIPPED, str(seed))
        same = (pixels(one) == pixels(other)).all(axis=2)
        if kind is Kind.TEXT:
            assert same.all() and (asked, also_asked) == (first, second)
            continue
        assert asked == also_asked and not same.all()
        # They differ in one word alone, so that in the middle of all else every pixel is the same.
        assert same.mean() > 0.9
        assert [c for _, c in sorted(one.getcolors(10**5) or [])][-1:] == [
            c for _, c in sorted(other.getcolors(10**5) or [])
        ][-1:]
        [(again, _), _] = draw_alike(kind, [first, second], 224, SHIPPED, str(seed))
        assert (pixels(again) == pixels(one)).all()
    assert len({draw_alike(kind, [first], 224, SHIPPED, str(seed))[0][0].tobytes() for seed in range(8)}) > (
        0 if kind is Kind.FIGSTEP else 3
    )


def regions(image: Image.Image) -> list[tuple[int, int, int]]:
    """The colours of the areas of one colour that are larger than an outline."""
    shown, found = pixels(image), []
    for colour in COLOURS.values():
        areas, count = label((shown == colour).all(axis=2))
        found += [colour for i in range(1, count + 1) if (areas == i).sum() > 30]
    return found


def test_the_number_of_shapes_is_the_answer() -> None:
    answers = set()
    for seed in range(60):
        image, question, answer = count_question(224, random.Random(seed))
        assert len(regions(image)) == int(answer), question
        assert any(shape in question for shape in SHAPES)
        check_scoring("number", answer)
        answers.add(int(answer))
    assert answers == set(range(1, MOST + 1))


def test_the_colour_that_is_asked_for_is_that_of_the_shape() -> None:
    for seed in range(40):
        image, question, answer = colour_question(224, random.Random(seed))
        [shape] = [shape for shape in SHAPES if shape in question]
        stamp = Image.new("RGB", (101, 101), "white")
        draw_shape(ImageDraw.Draw(stamp), shape, 0, 0, 100, COLOURS[answer])
        assert COLOURS[answer] in regions(image)
        assert len(regions(image)) == len(set(regions(image))) in (2, 3, 4)
        # The area of that colour fills as much of its box as the shape does.
        where = (pixels(image) == COLOURS[answer]).all(axis=2)
        rows, columns = np.flatnonzero(where.any(axis=1)), np.flatnonzero(where.any(axis=0))
        box = where[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        wanted = (pixels(stamp)[1:100, 1:100] == COLOURS[answer]).all(axis=2).mean()
        assert abs(box.mean() - wanted) < 0.12, question
        assert scoring_named("contains").right(question, answer, f"It is {answer}.")


def test_images_are_png_files_without_traces() -> None:
    [(image, _)] = draw_alike(Kind.TYPO, ["Go"], 96, SHIPPED, "0")
    assert not Image.open(io.BytesIO(png_bytes(image))).info
