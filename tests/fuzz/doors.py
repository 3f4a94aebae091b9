"""Where things that others made come in: every kind of file that is read, options, and what servers answer."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from PIL import Image

from davsp.benchmarks import load as load_benchmark
from davsp.data.query import Query
from davsp.data.sources import read_source
from davsp.defences import load_defence
from davsp.defences.stored import BaseModelFacts
from davsp.defences.textual import Undefended
from davsp.defences.visual_safety_prompt import VisualSafetyPrompt
from davsp.evaluation.run import evaluate
from davsp.imaging.opening import open_image
from davsp.judges.labels import read_labels
from davsp.models.loading import load_model
from davsp.prompts.layouts import BorderLayout
from davsp.prompts.official import read_directions, read_noise
from davsp.prompts.visual import VisualPrompt
from davsp.report.agreement import read_validations
from davsp.report.collect import collect, with_answers
from davsp.report.evaluation import rebuild_report
from davsp.report.inputs import ReportInputs, write_inputs
from davsp.training.config import read_config
from davsp.training.recipes import read_recipe
from davsp.training.run_state import METRICS, STATE, load_state, read_metrics
from davsp.training.vector import HarmfulnessVector, extract_vector
from tests.benchmarks.folders import MADE, made
from tests.evaluations import FOUR, N, R, write_evaluation
from tests.fuzz.mutations import ODD_VALUES, damaged_bytes, damaged_json, damaged_lines
from tests.tiny import save_tiny

Files = dict[str, bytes]


@dataclass(frozen=True)
class Door:
    """`files` make a good folder; `damage` makes other contents for one of them; `enter` uses the folder."""

    files: Callable[[], Files]
    damage: Callable[[Files], SearchStrategy[tuple[str, bytes]]]
    enter: Callable[[Path], Any]
    share: float = 1.0
    """Of the inputs that others get: less where each takes long."""


def one_of_the_files(files: Files) -> SearchStrategy[tuple[str, bytes]]:
    """One file, damaged as its kind is."""

    def damaged(name: str, content: bytes) -> SearchStrategy[tuple[str, bytes]]:
        if name.endswith((".json", ".jsonl")):
            try:
                kind = damaged_json(json.loads(content))
            except ValueError:
                kind = damaged_lines([json.loads(line) for line in content.decode().splitlines()])
        else:
            kind = damaged_bytes(content)
        return st.tuples(st.just(name), kind)

    return st.one_of(*(damaged(name, content) for name, content in files.items()))


def files_of(folder: Path) -> Files:
    """All files below a folder by their relative names."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def picture(kind: str = "PNG") -> bytes:
    stream = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (20, 30, 3), dtype=np.uint8)
    Image.fromarray(noise).save(stream, kind)
    return stream.getvalue()


# --- data and images

RECORDS = [
    {"id": "a", "image": "a.png", "question": "What is it?", "answer": ["red", "blue"], "malicious": False},
    {"id": "b", "image": "a.png", "messages": [{"role": "user", "content": "How?"}], "malicious": 1, "group": "g"},
]


def _lines() -> Files:
    return {"queries.jsonl": "".join(json.dumps(r) + "\n" for r in RECORDS).encode(), "a.png": picture()}


def _csv() -> Files:
    text = "id,image,question,malicious\n" + "".join(f"{n},a.png,What is it?,{n % 2}\n" for n in range(4))
    return {"queries.csv": text.encode(), "a.png": picture()}


def _parquet() -> Files:
    import pyarrow as pa
    import pyarrow.parquet as pq

    stream = io.BytesIO()
    rows = [{"id": str(n), "image": picture(), "question": "What is it?", "malicious": n % 2} for n in range(4)]
    pq.write_table(pa.Table.from_pylist(rows), stream)
    return {"queries.parquet": stream.getvalue()}


def _read_folder(folder: Path) -> None:
    for query in read_source(str(folder)).queries:
        open_image(query.image)


def _images() -> Files:
    return {f"a.{kind.lower()}": picture(kind) for kind in ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")}


def _open_all(folder: Path) -> None:
    for path in sorted(folder.iterdir()):
        open_image(path)


# --- what training and fitting write and read


@cache
def _model() -> Any:
    return load_model("testbed")


@cache
def _queries() -> tuple[Query, ...]:
    image = Image.new("RGB", (112, 112), "white")
    return tuple(Query(f"{n}", image, "count the shapes .", "one", n % 2 == 0) for n in range(8))


def _saved(save: Callable[[Path], Any]) -> Callable[[], Files]:
    @cache
    def files() -> Files:
        import tempfile

        with tempfile.TemporaryDirectory() as name:
            folder = Path(name) / "saved"
            save(folder)
            return files_of(folder)

    return files


def _save_vector(folder: Path) -> None:
    extract_vector(_model(), _queries(), _queries(), prefix="").save(folder)


def _save_prompt(folder: Path) -> None:
    pixels = torch.rand(3, 112, 112, generator=torch.manual_seed(0))
    layout = BorderLayout(112, 112, border=14)
    layout.project_(pixels)
    prompt = VisualPrompt(layout, pixels)
    VisualSafetyPrompt("p", prompt, "be careful .", base_model=BaseModelFacts.of(_model())).save(folder)


def _use_prompt(folder: Path) -> None:
    defence = load_defence(folder)
    defence.check(_model())
    defence.preview(_queries()[0])


def _run() -> Files:
    stream = io.BytesIO()
    state = {"pixels": torch.zeros(3, 4, 4), "best": {"step": 1, "quality": 0.5}}
    torch.save({"step": 2, "identity": {"config": [{"a": 1}], "weights": "x"}, "state": state}, stream)
    records = [{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.0, "validation": {"refused": 0.5}}]
    return {STATE: stream.getvalue(), METRICS: "".join(json.dumps(r) + "\n" for r in records).encode()}


def _go_on(folder: Path) -> None:
    load_state(folder, lambda: {"config": [{"a": 1}], "weights": "x"})
    read_metrics(folder)


RECIPE = {"model": "testbed", "data": "testbed", "train": {"steps": 5, "mode": "border", "step_size": 0.1}}


def _read_recipe(folder: Path) -> None:
    recipe = read_recipe(folder / "recipe.yaml")
    read_config(recipe.train, paper=recipe.paper)


def _official() -> Files:
    directions, noise = io.BytesIO(), io.BytesIO()
    torch.save({f"layer_{k}": torch.rand(8) for k in range(1, 5)}, directions)
    torch.save(torch.rand(1, 3, 336, 336), noise)
    return {"directions.pt": directions.getvalue(), "noise.pt": noise.getvalue()}


def _import(folder: Path) -> None:
    read_directions(folder / "directions.pt")
    read_noise(folder / "noise.pt")


# --- models


@cache
def _checkpoint() -> Files:
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        return files_of(save_tiny("llava", Path(name) / "tiny"))


def _damaged_checkpoint(files: Files) -> SearchStrategy[tuple[str, bytes]]:
    # Sizes beyond reason would be allocated by transformers before it reads a single weight.
    return one_of_the_files(files).filter(
        lambda change: b"000000000" not in change[1] and b"2147483648" not in change[1]
    )


def _load_model(folder: Path) -> None:
    model = load_model(str(folder))
    model.generate([Query("q", Image.new("RGB", (40, 30)), "what ?")], 1)


# --- evaluations, judges, benchmarks


def _evaluation(folder: Path) -> None:
    write_evaluation(folder, FOUR, {"none": [R, R, N, N]})
    write_inputs(folder, ReportInputs(title="t", projections={"malicious/before": [1.0, 2.0]}, border=picture()))


def _report(folder: Path) -> None:
    rebuild_report(folder)
    for evaluation in collect([folder]):
        with_answers(evaluation)


def _labels() -> Files:
    header = "id,type,prompt,completion,final_label\n"
    rows = "".join(f"{n},safe,How?,Like this.,1_full_compliance\n" for n in range(3))
    behaviours = [{"test_case": "b", "generation": "g", "human_0": 1, "human_1": 1, "human_2": 0} for _ in range(3)]
    return {"xstest_v2_completions_m.csv": (header + rows).encode(), "h.json": json.dumps(behaviours).encode()}


def _read_labels(folder: Path) -> None:
    for path in folder.iterdir():
        read_labels(path)


VALIDATION = {
    "judge": {"name": "rules", "model": None},
    "labels": [{"file": "a.csv"}],
    "refusal": None,
    "harm": None,
}


# --- servers

REPLY = {
    "id": "1",
    "object": "chat.completion",
    "created": 1,
    "model": "small",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "A cup."}}],
    "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
}


class _Reply(BaseHTTPRequestHandler):
    """Replies with the bytes that its server has."""

    def do_GET(self) -> None:
        self.do_POST()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        content: bytes = self.server.content  # type: ignore[attr-defined]
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments: object) -> None:
        pass


def _ask_a_server(folder: Path) -> None:
    """The answer is unscored, or there is one; nothing but a lost server ends the evaluation."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Reply) as server, patch("davsp.evaluation.served.RETRIES", 0):
        server.content = (folder / "reply.json").read_bytes()  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            address = f"http://127.0.0.1:{server.server_port}/v1=small"
            evaluate(address, [Undefended()], _queries()[:1], output=folder / "out", progress=False)
        finally:
            server.shutdown()


# --- options


def _options() -> SearchStrategy[tuple[str, bytes]]:
    texts = st.sampled_from([*map(str, ODD_VALUES), "9" * 5000, "[" * 2000, "1e999", "true", "{", "0x10", "1_000"])
    names = st.sampled_from(
        ["steps", "mode", "step_size", "prefix", "layer", "batch_size", "seed", "order", "none", ""]
    )
    written = st.builds("{}={}".format, names, texts)
    return st.one_of(written, texts, names).map(lambda text: ("options", text.encode("utf-8", "surrogatepass")))


def _read_options(folder: Path) -> None:
    text = (folder / "options").read_bytes().decode("utf-8", "surrogatepass")
    read_config(assignments=[text])


def _read_defence_options(folder: Path) -> None:
    text = (folder / "options").read_bytes().decode("utf-8", "surrogatepass")
    load_defence(f"adashield-s:{text}")


DOORS: Mapping[str, Door] = {
    "data in JSON Lines": Door(_lines, one_of_the_files, _read_folder),
    "data in JSON": Door(
        lambda: {"queries.json": json.dumps(RECORDS).encode(), "a.png": picture()}, one_of_the_files, _read_folder
    ),
    "data in CSV": Door(_csv, one_of_the_files, _read_folder),
    "data in Parquet": Door(_parquet, one_of_the_files, _read_folder),
    "images": Door(_images, one_of_the_files, _open_all),
    "a vector": Door(_saved(_save_vector), one_of_the_files, HarmfulnessVector.load),
    "a prompt": Door(_saved(_save_prompt), one_of_the_files, _use_prompt),
    "a stopped run": Door(_run, one_of_the_files, _go_on),
    "a recipe": Door(
        lambda: {"recipe.yaml": json.dumps(RECIPE).encode()},
        lambda files: damaged_json(RECIPE).map(lambda content: ("recipe.yaml", content)),
        _read_recipe,
    ),
    "official files": Door(_official, one_of_the_files, _import),
    "a checkpoint": Door(_checkpoint, _damaged_checkpoint, _load_model, share=0.5),
    "an evaluation": Door(_saved(_evaluation), one_of_the_files, _report),
    **{
        f"benchmark {name}": Door(
            _saved(partial(made, name)), one_of_the_files, partial(load_benchmark, name), share=0.3
        )
        for name in MADE
    },
    "human labels": Door(_labels, one_of_the_files, _read_labels),
    "a judge's validation": Door(
        lambda: {"v.json": json.dumps(VALIDATION).encode()},
        one_of_the_files,
        lambda folder: read_validations([folder / "v.json"]),
    ),
    "what a server answers": Door(
        lambda: {"reply.json": json.dumps(REPLY).encode()}, one_of_the_files, _ask_a_server, share=0.3
    ),
    "training options": Door(lambda: {"options": b"steps=5"}, lambda files: _options(), _read_options),
    "a defence's options": Door(lambda: {"options": b"order=first"}, lambda files: _options(), _read_defence_options),
}
