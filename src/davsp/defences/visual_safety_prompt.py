"""The artefact: a folder that holds a trained visual safety prompt and says what it was made for.

config.json        what it is, for which model, how it was trained
model.safetensors  "prompt": the pixels, float32 (3, H, W); "direction": float32 (hidden,)
border.png         the same as a picture: RGBA, transparent inside
README.md          a card for people
"""

from __future__ import annotations

import sys
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from html import escape
from pathlib import Path
from typing import Any

from huggingface_hub import ModelHubMixin, snapshot_download
from huggingface_hub.errors import HfHubHTTPError
from jinja2 import Environment, PackageLoader
from PIL import Image
from pydantic import BaseModel
from rich.console import Console
from torch import Tensor

from davsp.data.conversation import Role
from davsp.data.query import ImageSource, Query, check_question
from davsp.defences import stored
from davsp.defences.prompted import PromptDefence
from davsp.defences.stored import CARD, CONFIG, WEIGHTS, BaseModelFacts
from davsp.defences.stored_visual import VisualFacts, read_visual
from davsp.errors import ArtefactError
from davsp.imaging.canvas import Canvas
from davsp.models.base import VisionLanguageModel
from davsp.models.probe import Probe
from davsp.prompts.visual import VisualPrompt
from davsp.training.config import TrainConfig
from davsp.training.jobs import make_objectives
from davsp.training.run_state import METRICS, read_metrics
from davsp.training.tracking import tracked
from davsp.training.trainer import Trainer
from davsp.training.vector import LAYER_CONVENTION, HarmfulnessVector
from davsp.util.files import write_bytes
from davsp.util.processes import processes
from davsp.util.provenance import Provenance, versions_used
from davsp.util.verbosity import Verbosity, verbosity

PICTURE = "border.png"


class TrainingFacts(BaseModel):
    """How a prompt was trained."""

    layer: int
    layer_convention: str = LAYER_CONVENTION
    tau_plus: float
    tau_minus: float
    config: dict[str, Any]
    data: dict[str, str]
    """SHA-256 of each set of queries as the training saw it."""
    metrics: dict[str, float]
    """The validation record of the prompt that was kept."""


class PromptFacts(stored.Facts):
    """What a saved visual safety prompt says of itself."""

    prefix: str
    visual: VisualFacts | None
    further_models: tuple[BaseModelFacts, ...] = ()
    training: TrainingFacts | None


@dataclass(frozen=True)
class VisualSafetyPrompt(
    PromptDefence,
    ModelHubMixin,
    library_name="davsp",
    tags=["visual-safety-prompt", "safety"],
    paper_url="https://arxiv.org/abs/2506.09353",
):
    """A defence that can be saved: visual prompt, safety prefix, and what they were trained for.

    `save_pretrained`, `from_pretrained` and `push_to_hub` are those of huggingface_hub's ModelHubMixin; a folder
    they write is one that `save` writes.
    """

    kind = "visual-safety-prompt"
    model_specific = True
    # Set, so that the mixin leaves it to `save` to write config.json.
    _hub_mixin_config = {"library": "davsp"}  # noqa: RUF012 - without annotation, so that it is no field

    name: str
    visual: VisualPrompt | None = None
    prefix: str = ""
    roles: tuple[Role, ...] = field(default=(Role.USER,), kw_only=True)
    base_model: BaseModelFacts = field(kw_only=True)
    further_models: tuple[BaseModelFacts, ...] = field(default=(), kw_only=True)
    """Models it was trained for at the same time; what `training` and `direction` say is of `base_model`."""
    training: TrainingFacts | None = field(default=None, kw_only=True)
    direction: Tensor | None = field(default=None, kw_only=True)
    """float32 (hidden,): the harmfulness direction it was trained along."""
    versions: dict[str, str] = field(default_factory=versions_used, kw_only=True)
    provenance: Provenance | None = field(default=None, kw_only=True)
    """Of a prompt that was loaded: the command that made it."""

    @property
    def alignment(self) -> Probe | None:
        return (
            None if self.training is None or self.direction is None else Probe.at(self.training.layer, self.direction)
        )

    @property
    def thresholds(self) -> tuple[float, float] | None:
        return (self.training.tau_plus, self.training.tau_minus) if self.training else None

    def _repr_html_(self) -> str:
        """The border and what it was trained for, for notebooks."""
        png = self.picture()
        shown = f'<img alt="the border" src="data:image/png;base64,{b64encode(png).decode()}">' if png else ""
        prefix = f"<br>before the question: <q>{escape(self.prefix)}</q>" if self.prefix else ""
        caption = f"{escape(self.name)}, for {escape(self.base_model.name)}{prefix}"
        return f"<figure>{shown}<figcaption>{caption}</figcaption></figure>"

    def protect(self, image: ImageSource, question: str) -> tuple[Image.Image, str]:
        """Image and question as a model is to get them: the image on its canvas, the prefix before the question.

        `image`: a path, bytes, or a Pillow image. Raises InputError for an unusable image or question.
        """
        check_question(question, "the question")
        query = self.defend(
            Query(id="the image", image=Path(image) if isinstance(image, str) else image, question=question)
        )
        assert isinstance(query.image, Image.Image)
        return query.image, query.question

    def misfits(self, model: VisionLanguageModel) -> list[str]:
        """One line for everything in which `model` differs from the model the prompt was trained for.

        None, if it is one of `further_models`.
        """
        differences = [facts.differences(model) for facts in (self.base_model, *self.further_models)]
        return differences[0] if all(differences) else []

    def check(self, model: VisionLanguageModel) -> None:
        """Raise ArtefactError when the prompt was trained for another model than `model`, or when the limits of the
        model's processor are others and what the prompt composes would be resampled."""
        if misfits := self.misfits(model):
            raise ArtefactError(
                f"this prompt was trained for {self.base_model.name} and does not fit {model.name}:\n"
                + "\n".join(f"  {line}" for line in misfits)
                + "\nLoad the model it was trained for, or train a prompt for this one with `davsp train`."
            )
        self.check_canvas(model.canvas, model.name)

    def on_canvas(self, canvas: Canvas) -> VisualSafetyPrompt:
        return replace(self, visual=self.visual.on_canvas(canvas)) if self.visual else self

    def ask(self, model: VisionLanguageModel, image: ImageSource, question: str, max_new_tokens: int = 256) -> str:
        """The defended model's greedy answer. `image`: a path, bytes, or a Pillow image.

        Raises InputError for an unusable image or question, ArtefactError for another model.
        """
        self.check(model)
        protected, prefixed = self.on_canvas(model.canvas).protect(image, question)
        return model.generate([Query(id="the image", image=protected, question=prefixed)], max_new_tokens)[0]

    def save(self, folder: Path | str) -> None:
        """Write the four files. Raises StorageError when the folder cannot be written."""
        folder = Path(folder)
        visual, tensors = None, dict[str, Tensor]()
        if self.direction is not None:
            tensors["direction"] = self.direction
        if self.visual is not None:
            visual = VisualFacts.of(self.visual.layout)
            tensors["prompt"] = self.visual.pixels
            write_bytes(folder / PICTURE, self.visual.to_png())
        facts = PromptFacts(
            name=self.name,
            prefix=self.prefix,
            visual=visual,
            base_model=self.base_model,
            further_models=self.further_models,
            training=self.training,
            versions=self.versions,
            provenance=self.provenance,
        )
        card = Environment(loader=PackageLoader("davsp.defences"), autoescape=False).get_template("card.md.j2")  # noqa: S701 - Markdown
        stored.save(folder, facts, tensors, card.render(prompt=self))

    def _save_pretrained(self, save_directory: Path) -> None:
        self.save(save_directory)

    @classmethod
    def _from_pretrained(
        cls,
        *,
        model_id: str,
        revision: str | None = None,
        cache_dir: str | Path | None = None,
        force_download: bool = False,
        local_files_only: bool = False,
        token: str | bool | None = None,
        **from_config: Any,  # noqa: ARG003 - what the mixin read from config.json; `load` reads it again, with checks
    ) -> VisualSafetyPrompt:
        if Path(model_id).is_dir():
            return cls.load(model_id)
        return cls.load(
            snapshot_download(
                model_id,
                revision=revision,
                cache_dir=cache_dir,
                force_download=force_download,
                local_files_only=local_files_only,
                token=token,
                allow_patterns=[CONFIG, WEIGHTS, PICTURE, CARD],
            )
        )

    @classmethod
    def from_pretrained(cls, name: str | Path, **options: Any) -> VisualSafetyPrompt:  # type: ignore[override]
        """Load from a folder, or from the Hub by id: pin it with `revision`; `local_files_only` and the other options
        are huggingface_hub's. Raises ArtefactError when it is not there, or not sound."""
        try:
            prompt: VisualSafetyPrompt = super().from_pretrained(name, **options)
        except (OSError, HfHubHTTPError) as error:
            raise ArtefactError(
                f"cannot load the visual safety prompt {str(name)!r}: {str(error).splitlines()[0]}\n"
                "Give a saved folder, or the id of one on the Hub that can be reached."
            ) from error
        return prompt

    @classmethod
    def load(cls, folder: Path | str) -> VisualSafetyPrompt:
        """What `save` wrote. Raises ArtefactError when it is missing, damaged, a baseline, or of a newer schema."""
        folder = Path(folder)
        if (kind := stored.read_config(folder).get("kind") or cls.kind) != cls.kind:
            raise ArtefactError(
                f"{folder} holds a baseline ({kind}), which is no visual safety prompt: `davsp evaluate` and "
                "`davsp ask` take it as --defence."
            )
        facts, tensors = stored.load(folder, PromptFacts)
        visual = read_visual(folder, facts.visual, tensors) if facts.visual else None
        direction = tensors.get("direction")
        base_model = facts.base_model
        if base_model.limits is None and facts.visual:  # an older davsp kept them with frames alone
            base_model = base_model.model_copy(update={"limits": facts.visual.canvas})
        if direction is not None and direction.shape != (facts.base_model.hidden_size,):
            raise ArtefactError(f"{folder / WEIGHTS}: the direction does not fit {CONFIG}: train it again.")
        return cls(
            facts.name,
            visual,
            facts.prefix,
            base_model=base_model,
            further_models=facts.further_models,
            training=facts.training,
            direction=direction,
            versions=facts.versions,
            provenance=facts.provenance,
        )


def train_prompt(
    models: Sequence[tuple[VisionLanguageModel, HarmfulnessVector]],
    config: TrainConfig,
    training: Sequence[Query],
    validation: Sequence[Query],
    folder: Path,
    *,
    tensorboard: bool = False,
    trackio: bool = False,
    quiet: bool = False,
) -> VisualSafetyPrompt:
    """Train a prompt for one model or several in `folder`, going on from the state saved there, and save it there
    under the folder's name.

    Says at the end, unless `quiet`, what it came to on the validation queries. Raises Interrupted on Ctrl-C, with the
    state saved, and what `Trainer` and `plan` raise.
    """
    trainer = Trainer(make_objectives(models, config, training, validation, folder, quiet=quiet))
    is_main = processes().is_main
    with tracked(folder, tensorboard=tensorboard and is_main, trackio=trackio and is_main) as report:
        visual = trainer.run(folder, quiet=quiet, report=report)
    first, *further = trainer.objectives
    prompt = VisualSafetyPrompt(
        folder.resolve().name,
        visual,
        config.prefix,
        base_model=BaseModelFacts.of(first.model),
        further_models=tuple(BaseModelFacts.of(other.model) for other in further),
        training=TrainingFacts(
            layer=first.plan.layer,
            tau_plus=first.plan.tau_plus,
            tau_minus=first.plan.tau_minus,
            config=config.model_dump(mode="json"),
            data=first.data_digests(),
            metrics=trainer.best_record,
        ),
        direction=first.direction.cpu(),
    )
    if is_main:
        prompt.save(folder)
        if not quiet:
            validated = {
                record["step"]: record["validation"] for record in read_metrics(folder) if "validation" in record
            }
            if 0 not in validated:
                raise ArtefactError(f"{folder} has lost its {METRICS}: delete the folder to start again.")
            untrained = validated[0]
            if verbosity() is not Verbosity.QUIET:
                Console(stderr=True).print(trainer.front_table(untrained))
            for line in trainer.outcome(untrained, validated[max(validated)]):
                if verbosity() is not Verbosity.QUIET or line.startswith("WARNING"):
                    print(line, file=sys.stderr)
    return prompt
