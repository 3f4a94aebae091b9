"""The whole loop from Python: load a model and queries, train a prompt, compare defences, keep and load them."""

from __future__ import annotations

import tempfile
import weakref
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from davsp.data.query import ImageSource, Query, check_question, split_queries
from davsp.data.sources import read_source
from davsp.defences.base import Defence, Exchange
from davsp.defences.loading import check_served, load_defence
from davsp.defences.textual import Undefended
from davsp.defences.visual_safety_prompt import PICTURE, VisualSafetyPrompt, train_prompt
from davsp.errors import InputError
from davsp.judges import Judge, load_judge
from davsp.models.base import VisionLanguageModel
from davsp.models.requests import Request, Response
from davsp.report.collect import Evaluation
from davsp.testbed.sources import NAME, check_world, draw_source, is_drawn, is_testbed
from davsp.training.config import read_config
from davsp.training.jobs import numbered, vector_for
from davsp.training.lookalikes import with_lookalikes
from davsp.training.objective import check_options
from davsp.training.run_state import Record, read_metrics
from davsp.training.vector import HarmfulnessVector
from davsp.util.async_running import run_coroutine
from davsp.util.files import make_folder
from davsp.util.processes import processes

if TYPE_CHECKING:
    from davsp.benchmarks.selection import BenchmarkSelection
    from davsp.results import AttackFacts

QuerySource = str | Path | Sequence[Query]
"""A file, a folder, a data set of the hub, "testbed" or "smol", or the queries themselves."""
DefenceSource = Defence | str | Path | None
"""A defence, its name, the folder it was saved in, or None for none."""
HELD_OUT = 0.2
"""Share of the queries that judge and choose while a prompt is trained, where none are given for that."""


def load_queries(
    source: QuerySource,
    *,
    split: str | None = None,
    per_group: int | None = None,
    seed: int = 0,
    skip_bad: bool = False,
) -> list[Query]:
    """The queries of a file (.jsonl, .json, .csv, .parquet), a folder, a data set of the hub, or a list.

    `split` chooses a part of a data set, by default "train". "testbed" draws "train", "validation" or "test" from the
    testbed's world by `seed`, "smol" or "smol=FOLDER" from public texts, at most `per_group` queries of each kind.
    `skip_bad` leaves unusable records out.

    Raises InputError where there is nothing to be read, BadRecords naming each record that is not usable.
    """
    if not isinstance(source, str | Path):
        return list(source)
    if is_drawn(str(source)):
        return draw_source(str(source), split or "train", per_group, seed)
    return list(read_source(f"{source}:{split}" if split else str(source), skip_bad=skip_bad).queries)


def train(
    model: VisionLanguageModel | Sequence[VisionLanguageModel],
    data: QuerySource,
    *,
    validation: QuerySource | None = None,
    lookalikes: QuerySource | None = None,
    vectors: Sequence[HarmfulnessVector] = (),
    out: str | Path | None = None,
    paper: bool = False,
    tensorboard: bool = False,
    trackio: bool = False,
    progress: bool = True,
    **options: Any,
) -> VisualSafetyPrompt:
    """Train a visual safety prompt for a model, or one for several.

    `options` are those of davsp.training.config.TrainConfig, by name: steps=500, prefix="". `paper` starts from the
    paper's choices. `validation` judges and chooses, by default a fifth of `data`. `lookalikes` are harmless queries
    that look harmful, trained with and told apart; a fifth of them judges, too. The harmfulness vector of each model
    is made first, unless `vectors` has it. With `out`, the run's state, its vectors and the prompt are saved there, the
    prompt under the folder's name, and the same call goes on with a run that was stopped.

    Raises InputError for options, models and queries that do not go together, ArtefactError when `out` holds another
    run, and Interrupted on Ctrl-C, with the state saved.
    """
    models = [model] if isinstance(model, VisionLanguageModel) else list(model)
    config = read_config(options, paper=paper)
    training = _queries(data, models)
    if validation is None:
        training, checks = split_queries(training, share=HELD_OUT, seed=config.seed)
    else:
        checks = _queries(validation, models)
    if lookalikes is not None:
        training, checks = with_lookalikes(training, checks, _queries(lookalikes, models), HELD_OUT, config.seed)
    for each in models:  # what does not suit is found before the vector takes its time
        check_options(each, config)
    with ExitStack() as stack:
        scratch = None if out else stack.enter_context(tempfile.TemporaryDirectory(prefix="davsp-"))
        folder = make_folder(Path(out) if out else Path(scratch or "", "prompt"))
        made = list(vectors) or [
            vector_for(
                each,
                training,
                checks,
                config.prefix,
                folder / numbered("vector", i),
                direction=config.direction,
                fit_on=config.fit_on,
                quiet=not progress,
            )
            for i, each in enumerate(models)
        ]
        if len(made) != len(models):
            raise InputError(f"{len(models)} models and {len(made)} vectors: give one for each model, in order.")
        for each, vector in zip(models, made, strict=True):
            vector.check(each, config.prefix)
        pairs = list(zip(models, made, strict=True))
        return train_prompt(
            pairs, config, training, checks, folder, tensorboard=tensorboard, trackio=trackio, quiet=not progress
        )


def ask(
    model: VisionLanguageModel | str,
    image: ImageSource | Sequence[ImageSource] | None,
    question: str,
    defence: DefenceSource = None,
    *,
    max_new_tokens: int = 256,
) -> str:
    """The model's greedy answer to one question about an image, several, or none, behind a defence.

    `image`: a path, the bytes of an image file, or a Pillow image. All else is as in `answer`, which takes whole
    conversations.
    """
    check_question(question, "the question")
    given = [] if image is None else [image] if isinstance(image, ImageSource) else list(image)
    name = ", ".join(str(each) if isinstance(each, str | Path) else "the image" for each in given) or "the question"
    images = [Path(each) if isinstance(each, str) else each for each in given]
    return answer(model, Query(id=name, image=images, question=question), defence, max_new_tokens=max_new_tokens)


def answer(
    model: VisionLanguageModel | str,
    query: Query,
    defence: DefenceSource = None,
    *,
    max_new_tokens: int = 256,
    remark: Callable[[str], None] = lambda _: None,
) -> str:
    """The model's greedy answer to a query behind a defence. `remark` gets what is to be known of it beside.

    `model` is a loaded one, or as a name URL=NAME, one on an OpenAI-compatible server. Raises InputError for an
    unusable image, question or defence, and for a conversation that the model cannot be asked, ArtefactError for a
    defence that was made for another model, ModelError where a server fails.
    """
    chosen = _defence(defence)
    if isinstance(model, str):
        from davsp.evaluation.asking import ask_served

        check_served(chosen)
        return ask_served(model, query, chosen, max_new_tokens)
    chosen.check(model)
    chosen = chosen.on_canvas(model.canvas)

    async def send(request: Request, limit: int | None) -> Response:
        return model.respond([request], limit or max_new_tokens)[0]

    exchange = Exchange(send)
    answered = run_coroutine(chosen.answer(query, exchange))
    if exchange.unfamiliar:
        remark(f"This query looks like none of the kinds that {chosen.name} was fitted to: it promises nothing of it.")
    if exchange.alarm:
        remark(f"{chosen.name} raises its alarm: the model recognises harm in this query. The answer stays as it is.")
    return answered


def evaluate(
    model: VisionLanguageModel | str,
    queries: QuerySource,
    defences: Sequence[DefenceSource] = (None,),
    *,
    out: str | Path | None = None,
    title: str | None = None,
    judge: Judge | str = "rules",
    judge_model: str | None = None,
    scoring: str = "auto",
    benchmark: BenchmarkSelection | None = None,
    attack: AttackFacts | None = None,
    training: Sequence[Record] | None = None,
    batch_size: int = 32,
    max_new_tokens: int = 256,
    thinking_tokens: int = 0,
    seed: int = 0,
    transfer: bool = False,
    resume: bool = True,
    progress: bool = True,
) -> Evaluation:
    """Measure safety, usefulness, over-refusal and cost behind each defence, on the same queries.

    Where None is among the defences, answers to benign queries without a reference answer are compared with those of
    the undefended model.

    `model` is a loaded one, or as a name URL=NAME, one on an OpenAI-compatible server. `judge` says what harms and what
    refuses; `judge_model` is the model of one that asks a model. `scoring` says what makes the answer to a benign query
    right, where the query does not (davsp.judges.scoring: "auto", "exact", "contains", "number", "choice", "yes-no",
    "regex", "grader"). `benchmark` is that of the queries, where they are a benchmark's. `seed` is that by which they
    were chosen. `attack` is the one that rewrote the queries; where they are given as its folder, it is read there. A
    model that thinks may write `thinking_tokens` more than `max_new_tokens`. Of a data set of queries the split "test"
    is read.

    With `out`, results, transcripts, logs and page are kept there, and the same call goes on with a run that was
    stopped, unless `resume` is False; without, they last as long as what is returned. The page shows border,
    projections and training of the last defence that brings a direction; `training` are the metrics of its training, by
    default those in the folder that it is given as.

    Raises InputError for defences or queries that cannot be compared, ArtefactError for a defence that was made for
    another model, unless `transfer` is set, and ModelError where the evaluation as a whole fails.
    """
    from davsp.evaluation.run import evaluate as measure
    from davsp.report.evaluated import write_page

    chosen = [_defence(defence) for defence in defences]
    for defence in chosen:
        if isinstance(model, str):
            check_served(defence)
        elif not transfer:
            defence.check(model)
    if not isinstance(model, str):
        chosen = [defence.on_canvas(model.canvas) for defence in chosen]
    asked = _queries(queries, [model], "test")
    scratch = None if out else tempfile.TemporaryDirectory(prefix="davsp-", ignore_cleanup_errors=True)
    folder = Path(out) if out else Path(scratch.name if scratch else "") / "evaluation"
    if not isinstance(model, str):
        with suppress(InputError):  # a query of which that is said when its turn comes
            model.generate(asked[:batch_size], 2)  # or the first defence pays for what a model does but once
    results = measure(
        model,
        chosen,
        asked,
        output=folder,
        batch_size=batch_size,
        max_new_tokens=max_new_tokens,
        thinking_tokens=thinking_tokens,
        scoring=scoring,
        seed=seed,
        judge=load_judge(judge, judge_model) if isinstance(judge, str) else judge,
        benchmark=benchmark,
        attack=attack or _attack_of(queries),
        resume=resume,
        progress=progress,
    )
    evaluation = Evaluation(folder, results)
    if scratch:
        weakref.finalize(evaluation, scratch.cleanup)
    if processes().is_main:
        name = model if isinstance(model, str) else model.name
        write_page(
            evaluation.folder,
            evaluation.results,
            model,
            chosen,
            asked,
            title or f"{name}: {len(chosen)} defences compared",
            metrics_of(defences, chosen) if training is None else training,
            batch_size,
        )
    return evaluation


def attack(
    model: VisionLanguageModel | None,
    queries: QuerySource,
    name: str,
    *,
    out: str | Path,
    against: Sequence[DefenceSource] = (),
    batch_size: int = 16,
    seed: int = 0,
    progress: bool = True,
    **options: Any,
) -> list[Query]:
    """Rewrite queries by an attack (davsp.attacks), into the folder `out`, which `evaluate` reads.

    `name` may bring options, "pgd:eps=8"; `options` are others, by name. `against` are the defences that it knows. An
    attack that reads no model takes None for one, and rewrites all queries; the others rewrite malicious ones alone.
    The same call goes on with a run that was stopped.

    Raises InputError for what cannot be attacked so, ArtefactError where `out` holds something else, and Interrupted on
    Ctrl-C, with all that is done kept.
    """
    from davsp.attacks import load_attack
    from davsp.attacks.running import run_attack

    kind, chosen = load_attack(name, [f"{option}={value}" for option, value in options.items()])
    found = run_attack(
        kind,
        chosen,
        _queries(queries, [model] if model else [], "test"),
        Path(out),
        model=model,
        against=[_defence(defence) for defence in against],
        batch_size=batch_size,
        seed=seed,
        quiet=not progress,
    )
    return list(found.queries)


def metrics_of(sources: Sequence[DefenceSource], defences: Sequence[Defence]) -> list[Record]:
    """The metrics of the training of the last defence that brings a direction, from the folder that is its source; []
    where it was given in another way."""
    aligned = [source for source, defence in zip(sources, defences, strict=True) if defence.alignment]
    folder = Path(aligned[-1]) if aligned and isinstance(aligned[-1], str | Path) else None
    return read_metrics(folder) if folder and (folder / PICTURE).is_file() else []


def _attack_of(source: QuerySource) -> AttackFacts | None:
    """The attack that wrote the folder that queries are read from, if one did."""
    from davsp.attacks.running import read_attack

    return read_attack(Path(source)) if isinstance(source, str | Path) else None


def _queries(source: QuerySource, models: Sequence[VisionLanguageModel | str], split: str = "train") -> list[Query]:
    """As `load_queries`; drawn ones of this split, at the size of the first of the models. All of them must know the
    world of the testbed's."""
    if isinstance(source, str | Path) and is_drawn(str(source)):
        names = [model if isinstance(model, str) else model.name for model in models]
        if is_testbed(str(source)):
            for name in names:
                check_world(name)
        return draw_source(str(source), split, model=names[0] if names else NAME)
    return load_queries(source)


def _defence(source: DefenceSource) -> Defence:
    if source is None:
        return Undefended()
    return source if isinstance(source, Defence) else load_defence(source)
