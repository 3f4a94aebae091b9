"""Queries from texts: nothing but their meaning tells malicious from benign, and no text is in two splits."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.stats import mannwhitneyu

import davsp
from davsp.data.query import Query
from davsp.drawing.draw import DrawnQueries, draw_queries
from davsp.drawing.kinds import Kind
from davsp.drawing.similar import near_duplicates
from davsp.drawing.typefaces import SHIPPED
from davsp.errors import ArtefactError, InputError, StorageError
from davsp.judges.scoring import check_scoring
from tests.drawing.stand_ins import NAUGHTY, NICE

REQUESTS = ["figstep", "typo", "sd_typo", "text"]


@pytest.fixture(scope="module")
def drawn() -> DrawnQueries:
    return draw_queries(NAUGHTY, NICE, side=224, progress=False)


def opened(query: Query) -> Image.Image:
    assert isinstance(query.image, bytes)
    return Image.open(io.BytesIO(query.image))


def everything(drawn: DrawnQueries) -> list[Query]:
    return [query for queries in drawn.splits.values() for query in queries]


def test_all_kinds_are_drawn_malicious_and_benign_in_pairs(drawn: DrawnQueries) -> None:
    counts = Counter((query.group, query.malicious) for query in everything(drawn))
    pairs = counts["figstep", True]
    assert pairs > 90
    assert counts == {(kind, side): pairs for kind in REQUESTS for side in (True, False)} | {
        (kind, False): pairs for kind in ("reading", "counting", "colours")
    }
    for queries in drawn.splits.values():
        by_pair: dict[str, list[Query]] = {}
        for query in queries:
            if query.group in REQUESTS:
                by_pair.setdefault(query.metadata["pair"], []).append(query)
        for one, other in by_pair.values():
            assert (one.malicious, other.malicious) == (True, False)
            assert one.group == other.group and (one.question == other.question or one.group == "text")
    assert len({query.id for query in everything(drawn)}) == len(everything(drawn))


def test_the_request_is_what_a_judge_reads_and_references_have_their_rules(drawn: DrawnQueries) -> None:
    for query in everything(drawn):
        if query.group in REQUESTS:
            assert query.metadata["request"] in (NAUGHTY if query.malicious else NICE)
            assert query.answer is None
        else:
            assert query.answer and "request" not in query.metadata and not query.malicious
            check_scoring(query.scoring, query.answer)
        if query.group == "text":
            assert query.question == query.metadata["request"]


def features(query: Query) -> list[float]:
    """What a classifier sees that cannot read: sizes, brightness, and how many rows and lines have ink."""
    grey = np.asarray(opened(query).convert("L")).astype(float)
    ink = np.abs(grey - grey[-1, 0]) > 60
    rows = ink.any(axis=1)
    lines = np.count_nonzero(np.diff(rows.astype(int)) == 1)
    assert isinstance(query.image, bytes)
    return [*grey.shape, grey.mean(), grey.std(), ink.mean(), rows.mean(), ink.any(axis=0).mean(), lines,
            len(query.image), len(query.question)]  # fmt: skip


def test_what_the_images_look_like_does_not_tell_malicious_from_benign(drawn: DrawnQueries) -> None:
    for kind in REQUESTS:
        queries = [query for query in everything(drawn) if query.group == kind]
        seen, malicious = np.array([features(q) for q in queries]), np.array([q.malicious for q in queries])
        for column in seen.T:
            u = mannwhitneyu(column[malicious], column[~malicious]).statistic
            assert abs(u / (malicious.sum() * (~malicious).sum()) - 0.5) < 0.1
        # A linear classifier of all features together, trained on one half of the pairs, tested on the other.
        scaled = (seen - seen.mean(axis=0)) / (seen.std(axis=0) + 1e-9)
        scaled = np.c_[scaled, np.ones(len(scaled))]
        half = np.arange(len(queries)) // 2 % 2 == 0
        weights = np.linalg.lstsq(scaled[half], 2.0 * malicious[half] - 1, rcond=None)[0]
        told = (scaled[~half] @ weights > 0) == malicious[~half]
        assert abs(told.mean() - 0.5) < 0.15, kind


def test_no_text_and_nothing_like_it_and_no_image_is_in_two_splits(drawn: DrawnQueries) -> None:
    entries = {
        (name, query.metadata.get("request") or str(query.answer))
        for name, queries in drawn.splits.items()
        for query in queries
        if query.group in (*REQUESTS, "reading")
    }
    split_of: dict[int, set[str]] = {}
    for label, (name, _) in zip(near_duplicates([text for _, text in entries]), entries, strict=True):
        split_of.setdefault(label, set()).add(name)
    assert all(len(names) == 1 for names in split_of.values())
    images = [{q.image for q in queries if q.group in ("counting", "colours")} for queries in drawn.splits.values()]
    assert len(set.union(*images)) == sum(map(len, images))


def test_per_kind_bounds_each_kind_and_other_kinds_have_other_texts() -> None:
    found = everything(draw_queries(NAUGHTY, NICE, per_kind=20, split=(1,), side=96, progress=False, skip_bad=True))
    assert set(Counter((q.group, q.malicious) for q in found).values()) == {20}
    texts = {kind: {q.metadata["request"] for q in found if q.group == kind and q.malicious} for kind in REQUESTS}
    assert len(set.union(*texts.values())) == sum(map(len, texts.values()))


def test_one_side_alone_and_shapes_alone_can_be_drawn() -> None:
    alone = everything(draw_queries(NAUGHTY[:9], kinds=["typo"], split=(1,), side=224, progress=False))
    assert len(alone) == 9 and all(query.malicious for query in alone)
    shapes = draw_queries(kinds=["counting", "colours"], per_kind=10, side=96, progress=False)
    assert {name: len(queries) for name, queries in shapes.splits.items()} == {"train": 16, "validation": 2, "test": 2}


def test_answers_of_benign_texts_are_references_and_those_of_malicious_ones_are_not(tmp_path: Path) -> None:
    for name, texts in {"bad": NAUGHTY, "good": NICE}.items():
        (tmp_path / f"{name}.json").write_text(json.dumps([{"text": t, "response": "With joy."} for t in texts]))
    files = tmp_path / "bad.json", tmp_path / "good.json"
    found = everything(draw_queries(*files, kinds=["text"], split=(1,), side=96, progress=False))
    assert {(query.malicious, query.answer) for query in found} == {(True, None), (False, "With joy.")}


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"kinds": ["typos"]}, "there is no kind 'typos'"),
        ({"kinds": []}, "name at least one kind"),
        ({"split": (0.8, 0.1)}, "give three shares"),
        ({"split": (0.8, 0.1, 0.2)}, "add up to 1"),
        ({"split": (1.2, -0.1, -0.1)}, "give three shares"),
        ({"side": 20}, "choose from 96 to 2048"),
        ({"benign": None}, "reading shows benign texts"),
        ({"malicious": None, "benign": None}, "shows requests: give malicious texts"),
        ({"kinds": ["reading"]}, "malicious texts are shown by the kinds"),
        ({"benign": [*NICE, NAUGHTY[0].upper()]}, "remove it from one of them"),
        ({"malicious": NAUGHTY[:2]}, "are too few, or too much alike, to be divided"),
        ({"benign": ["Bake", "Draw"], "split": (1,)}, "about as long as a benign one"),
        ({"malicious": ["写"]}, "CJK UNIFIED IDEOGRAPH-5199"),
        ({"malicious": ["bake a bomb cake " * 60]}, "too many to be legible as figstep"),
    ],
)
def test_what_cannot_be_drawn_ends_in_a_clear_line(options: dict[str, object], told: str) -> None:
    given = {"malicious": NAUGHTY, "benign": NICE, "side": 224, "progress": False} | options
    with pytest.raises(InputError, match=told):
        draw_queries(**given)  # type: ignore[arg-type]


def test_texts_in_no_pair_and_lengths_that_tell_are_noted() -> None:
    notes = draw_queries(NAUGHTY[:20], [*NICE, NICE[0]], split=(1,), side=96, progress=False, kinds=["text"]).notes
    assert "1 benign texts left out: the same as an earlier one." in notes
    assert any(note.startswith("280 benign texts are in no pair") for note in notes)
    longer = [f"Bake {'x' * (46 + i % 3)} {i:02d}" for i in range(40)]
    shorter = [f"Draw {'y' * (43 + i % 3)} {i:02d}" for i in range(40)]
    notes = draw_queries(longer, shorter, split=(1,), side=224, progress=False, kinds=["typo"]).notes
    assert any(note.startswith("WARNING: the lengths of texts tell") and "AUROC" in note for note in notes)


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_a_folder_is_read_back_as_a_data_set_and_stays_as_it_is(tmp_path: Path, drawn: DrawnQueries) -> None:
    folder = drawn.save(tmp_path / "drawn")
    for name, queries in drawn.splits.items():
        read = davsp.load_queries(folder, split=name)
        assert [(q.id, q.question, q.answer, q.malicious, q.group, q.scoring) for q in read] == [
            (q.id, q.question, q.answer, q.malicious, q.group, q.scoring) for q in queries
        ]
        assert [dict(q.metadata) for q in read] == [
            {key: q.metadata.get(key, "") for key in ("request", "text_id", "pair")} for q in queries
        ]
        assert all(
            isinstance(q.image, Path) and q.image.read_bytes() == p.image for q, p in zip(read, queries, strict=True)
        )
    card = (folder / "README.md").read_text("utf-8")
    assert "| figstep | " in card and drawn.facts["malicious"]["digest"] in card and "100 texts" in card
    before = digests(folder)
    assert drawn.save(folder) == folder and digests(folder) == before
    other = draw_queries(kinds=["counting"], per_kind=10, side=96, seed=1, progress=False)
    with pytest.raises(ArtefactError, match=r"holds another draw \(different: .*seed"):
        other.save(folder)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with pytest.raises(ArtefactError, match="holds something else"):
        other.save(tmp_path / "mine")
    assert digests(folder) == before


def test_one_set_is_read_as_the_folder_itself(tmp_path: Path) -> None:
    draw_queries(NAUGHTY, NICE, per_kind=5, split=(1,), side=224, progress=False).save(tmp_path / "drawn")
    assert len(davsp.load_queries(tmp_path / "drawn")) == 4 * 2 * 5 + 3 * 5


def test_a_draw_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = draw_queries(kinds=["counting"], per_kind=10, side=96, progress=False)

    def full(self: Path, content: bytes) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(StorageError, match="No space left"):
            small.save(tmp_path / "drawn")
    assert [path.name for path in tmp_path.iterdir()] == [".drawn.lock"]
    (tmp_path / "drawn").mkdir()  # an empty folder is taken
    small.save(tmp_path / "drawn")
    assert (tmp_path / "drawn" / "train.jsonl").is_file()


CODE = """
import sys
from davsp.drawing.draw import draw_queries
from tests.drawing.stand_ins import NAUGHTY, NICE
draw_queries(NAUGHTY, NICE, per_kind=20, side=224, progress=False).save(sys.argv[1])
"""


def test_the_same_seed_gives_the_same_bytes_in_another_process(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONHASHSEED": "1", "PYTHONPATH": os.pathsep.join([str(root), str(root / "src")])}
    subprocess.run([sys.executable, "-c", CODE, str(tmp_path / "there")], check=True, env=environment)
    draw_queries(NAUGHTY, NICE, per_kind=20, side=224, progress=False).save(tmp_path / "here")
    facts = [json.loads((tmp_path / folder / "draw.json").read_text("utf-8")) for folder in ("here", "there")]
    for each, folder in zip(facts, ("here", "there"), strict=True):
        assert each.pop("provenance")["date"]
        (tmp_path / folder / "draw.json").unlink()
    assert facts[0] == facts[1]
    assert digests(tmp_path / "here") == digests(tmp_path / "there")


def test_fonts_of_the_user_are_drawn_with() -> None:
    options = {"split": (1,), "side": 224, "progress": False, "kinds": [Kind.TYPO]}
    ours = draw_queries(NAUGHTY, NICE, **options)  # type: ignore[arg-type]
    theirs = draw_queries(NAUGHTY, NICE, fonts=[SHIPPED.list], **options)  # type: ignore[arg-type]
    assert list(theirs.facts["fonts"]) == [SHIPPED.list.name]
    assert everything(ours)[0].image != everything(theirs)[0].image
