"""The whole recipe: from the decoder, and the parts of an earlier version, to new parts, stage by stage."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from transformers import LlamaModel

from davsp.errors import InputError
from davsp.testbed.public_texts import default_folder
from davsp.testbed.smol.fetching import read_decoder
from davsp.testbed.smol.parts import LORA, TOWER, find_parts
from davsp.testbed.smol.pretraining.canvas import Canvas
from davsp.testbed.smol.pretraining.decoder_stage import DecoderStage
from davsp.testbed.smol.pretraining.generation import decoder_model, load_weights
from davsp.testbed.smol.pretraining.language import Language
from davsp.testbed.smol.pretraining.measuring import Measured
from davsp.testbed.smol.pretraining.preparing import Preparation, Prepared, font_files
from davsp.testbed.smol.pretraining.recipe import TINY, Recipe
from davsp.testbed.smol.pretraining.samples import DECODER, REFUSING, Writer
from davsp.testbed.smol.pretraining.stage import Log, Stage
from davsp.testbed.smol.pretraining.teaching import teach
from davsp.testbed.smol.pretraining.texts import Sources, build_corpus, read_sources
from davsp.testbed.smol.pretraining.tower import Tower, fresh_tower
from davsp.testbed.smol.pretraining.tower_stage import TowerStage
from davsp.testbed.smol.pretraining.workers import Supply, supplied
from davsp.training.run_state import interruptible
from davsp.util.files import append_line, check_same_run, make_folder, new_folder, read_json, sha256, write_json

SCRATCH = Path("scratch")
"""In place of a folder of parts to go on from: begin with nothing."""
FACTS, ANSWERS, MEASURED, LINES = "pretrain.json", "answers.json", "measured.json", "log.txt"
STAGES = ("tower", "decoder", "refusals")
FOLDERS = ("after-tower", "after-decoder", "parts")
"""Of the parts as they are after each stage; the last are what the run is for."""
END = 2
"""The token that ends a turn."""
LAYERS = 30


@dataclass(frozen=True)
class Options:
    """`texts`: a folder as `--data smol` needs it, None for that which the environment names; `decoder`: where it is,
    None for the Python index; `start`: a folder of parts, SCRATCH, or None for the shipped ones; `pictures`: a colour
    font; `fonts`: a folder of more typefaces; `minutes`: of training, all stages together; `compiled`: whether layers
    are compiled on a GPU."""

    texts: Path | None = None
    decoder: Path | None = None
    start: Path | None = None
    pictures: Path | None = None
    fonts: Path | None = None
    minutes: float = 5.0
    seed: int = 0
    device: str = "auto"
    workers: int | None = None
    compiled: bool = True
    tiny: bool = False

    @property
    def recipe(self) -> Recipe:
        return TINY if self.tiny else Recipe()


def pretrain_smol(out: Path, options: Options, say: Log) -> dict[str, Any]:
    """Train the parts into a folder, and measure them; what was measured. The same call goes on with a run that was
    stopped: Ctrl-C during training keeps the parts as they are.

    Raises InputError for texts, fonts or parts that are missing, ArtefactError where the folder holds another run.
    """
    device = _device(options.device)
    start = None if options.start == SCRATCH else _parts(options.start)
    recipe, sources, files = options.recipe, read_sources(options.texts or default_folder()), font_files(options.fonts)
    for file in filter(None, [options.pictures]):
        if not file.is_file():
            raise InputError(f"{file}: no such file. Name NotoColorEmoji.ttf with --pictures.")
    _check_folder(out, options, files, start)
    log = partial(_log, out / LINES, time.monotonic(), say)
    workers = options.workers or max(1, min(15, (os.cpu_count() or 2) - 1))
    preparation = Preparation(files, options.pictures, sources, recipe, options.seed, workers)
    try:
        run = _Run(out, options, device, sources, log)
        run.load(start)
        answers = run.answers()
        prepared = preparation.result()
    finally:
        preparation.give_up()
    log(f"{len(prepared.faces)} fonts, {len(prepared.atlas.names)} pictures, {len(answers)} answered requests")
    with supplied(device, recipe.kept_chunks, options.seed) as supply:
        run.train(prepared, answers, supply, workers)
    return run.measure(prepared)


class _Run:
    """The model while it is trained, and the folder of the run."""

    def __init__(self, out: Path, options: Options, device: torch.device, sources: Sources, log: Log) -> None:
        self.out, self.options, self.device, self.sources, self.log = out, options, device, sources, log
        self.recipe = options.recipe
        self.dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
        self.layers = self.recipe.layers or LAYERS

    def load(self, start: Path | None) -> None:
        """Read the decoder and the parts: those of the last stage that ended, else those to go on from."""
        torch.manual_seed(self.options.seed)
        with TemporaryDirectory() as scratch:
            decoder = read_decoder(self.options.decoder, Path(scratch))
        self.weights = decoder.weights
        self.tokenizer: Tokenizer = decoder.tokenizer.backend_tokenizer
        self.writer = Writer(self.tokenizer, END)
        self.language = Language(self.weights, self.layers, self.dtype).to(self.device)
        self.ended = sum((self.out / folder).is_dir() for folder in FOLDERS)
        parts = self.out / FOLDERS[self.ended - 1] if self.ended else start
        self.had, stopped = self._stopped()
        parts = stopped or parts
        if parts is None:
            self.tower = Tower(fresh_tower(load_file(find_parts() / TOWER)), self.dtype)
        else:
            self._take_over(parts)
        self.tower.to(self.device)
        self.log(f"decoder from {decoder.source}; parts from {parts or SCRATCH}; {self.device}")

    def answers(self) -> dict[str, list[int]]:
        """Harmless requests and what the decoder, without its LoRA, answers."""
        if (self.out / ANSWERS).is_file():
            return dict(read_json(self.out / ANSWERS, "there are no answers"))
        begun = time.monotonic()
        decoder = self._decoder()
        answers = teach(decoder, self.tokenizer, END, self.sources, self.recipe, self.options.seed)
        write_json(self.out / ANSWERS, answers)
        self.log(f"the decoder answered {len(answers)} requests in {time.monotonic() - begun:.0f} s")
        return answers

    def train(self, prepared: Prepared, answers: Mapping[str, list[int]], supply: Supply, workers: int) -> None:
        """The stages that have not ended yet; then the parts are as they were saved."""
        if self.ended == len(STAGES):
            return
        corpus = build_corpus(self.sources, answers, self.tokenizer, self.options.seed)
        materials = prepared.materials(corpus, self.tokenizer.to_str(), END, self.recipe)
        supply.start(materials, workers, self.options.seed)
        pixels = torch.from_numpy(prepared.atlas.pixels)
        canvas = Canvas(torch.from_numpy(prepared.glyphs), pixels, self.device, self.options.seed)
        shares = (self.recipe.tower_share, self.recipe.decoder_share)
        seconds = [60 * self.options.minutes * share for share in (*shares, 1 - sum(shares))]
        for number in range(self.ended, len(STAGES)):
            with interruptible() as stopped:
                stage = Stage(STAGES[number], seconds[number], self.recipe, self.log, self.had, stopped)
                self._train_stage(number, stage, canvas, supply)
                if stopped():
                    self._save(f"{stage.name}-{round(stage.used)}s")
                    self.log(f"stopped after {stage.used:.0f} s of the stage {stage.name}: the same command goes on")
                    raise KeyboardInterrupt
            self.had = 0.0
            self._save(FOLDERS[number])
            self.log(f"the stage {stage.name} has ended after {stage.steps} steps")
        self._take_over(self.out / FOLDERS[-1])
        self.tower.to(self.device)

    def _train_stage(self, number: int, stage: Stage, canvas: Canvas, supply: Supply) -> None:
        compiled = self.options.compiled and self.device.type == "cuda"
        if number == 0:
            tower = TowerStage(self.tower, self.weights["embed_tokens.weight"].to(self.device), canvas, supply, stage)
            if compiled:
                tower.compile()
            tower.run()
            return
        decoder = DecoderStage(
            self.tower,
            self.language,
            canvas,
            supply,
            stage,
            opening=len(self.writer.opening),
            number=REFUSING if number == 2 else DECODER,
            lora_rate=self.recipe.refusal_rate if number == 2 else self.recipe.lora_rate,
            with_tower=number == 1,
        )
        if compiled and not self.language.block.is_compiled:
            decoder.compile()
        decoder.run()

    def _stopped(self) -> tuple[float, Path | None]:
        """How many seconds the coming stage has had, and the parts as they were when it was stopped."""
        if self.ended == len(STAGES):
            return 0.0, None
        found = {}
        for folder in self.out.glob(f"{STAGES[self.ended]}-*s"):
            seconds = folder.name.removeprefix(f"{STAGES[self.ended]}-").removesuffix("s")
            if seconds.isdecimal():
                found[float(seconds)] = folder
        return max(found.items(), default=(0.0, None))

    def measure(self, prepared: Prepared) -> dict[str, Any]:
        """What the model can do now, which is written too."""
        begun = time.monotonic()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        decoder = self._decoder()
        load_weights(decoder, self.language.merged())
        at_once = min(640, self.recipe.generated_at_once)
        found = Measured(self.tower, decoder, self.writer, at_once).measure(prepared.asked)
        write_json(self.out / MEASURED, found)
        figures = {
            row: {name: value for name, value in of_row.items() if name != "answers"} for row, of_row in found.items()
        }
        for row, of_row in figures.items():
            self.log(f"{row}: {', '.join(f'{name} {value:g}' for name, value in of_row.items())}")
        self.log(f"measured in {time.monotonic() - begun:.0f} s")
        return figures

    def _take_over(self, parts: Path) -> None:
        """Read saved parts."""
        self.tower = Tower(load_file(parts / TOWER), self.dtype)
        self.language.load(load_file(parts / LORA))

    def _decoder(self) -> LlamaModel:
        decoder = decoder_model(self.layers, self.device, self.dtype)
        load_weights(decoder, self.weights)
        return decoder

    def _save(self, name: str) -> None:
        """The parts as they are now, whole or not at all."""
        parts = {TOWER: self.tower.state(), LORA: self.language.state()}
        with new_folder(self.out / name) as folder:
            if folder:
                for file, weights in parts.items():
                    save_file(weights, folder / file, metadata={"format": "pt"})


def _parts(folder: Path | None) -> Path:
    if folder is None:
        return find_parts()
    for name in (TOWER, LORA):
        if not (folder / name).is_file():
            raise InputError(f"{folder} holds no {name}: name a folder of parts with --from, or {SCRATCH}.")
    return folder


def _check_folder(out: Path, options: Options, files: list[Path], start: Path | None) -> None:
    """Write what the run depends on, or see that it is as it was."""
    facts = {
        "start": {name: sha256(start / name) for name in (TOWER, LORA)} if start else str(SCRATCH),
        "fonts": {file.name: sha256(file) for file in files},
        "pictures": sha256(options.pictures) if options.pictures else None,
        "seed": options.seed,
        "recipe": asdict(options.recipe),
    }
    make_folder(out)
    if (out / FACTS).is_file():
        check_same_run(out, "another run", read_json(out / FACTS, f"{out} holds no run"), facts)
    else:
        write_json(out / FACTS, facts)


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InputError(f"there is no device {name!r}: choose auto, cpu or cuda.") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise InputError("there is no GPU that torch can use: choose --device cpu, which only --tiny is fast on.")
    return device


def _log(file: Path, begun: float, say: Log, text: str) -> None:
    line = f"[{time.monotonic() - begun:6.1f}] {text}"
    append_line(file, line)
    say(line)
