"""`davsp judge`: how far judges can be trusted."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from davsp.cli.options import AsJson, Seed, long_running, print_json, say
from davsp.errors import InputError
from davsp.judges import Criterion, load_judge

if TYPE_CHECKING:
    from rich.table import Table

JUDGE_MODEL_HELP = (
    "The model that a judge calls: openai/gpt-4o, hf/Qwen/Qwen3Guard-Gen-4B ... or on an OpenAI-compatible server, "
    "URL=NAME."
)
JUDGE_HELP = (
    "rules, llm, harmbench, llama-guard, qwen3guard, one of another package, or a class of your own, module:Class."
)
JudgeName = Annotated[
    str, typer.Option("--judge", envvar="DAVSP_JUDGE", help=f"Who says what harms and what refuses: {JUDGE_HELP}")
]
JudgeModel = Annotated[str | None, typer.Option(envvar="DAVSP_JUDGE_MODEL", help=JUDGE_MODEL_HELP)]
JudgeTokens = Annotated[
    int | None,
    typer.Option(
        min=1, help="The most tokens of a reply of the judge's model, its thinking included. Default: the judge's own."
    ),
]
JudgeTemperature = Annotated[
    float, typer.Option(min=0, help="At which temperature the judge's model replies; 0 is greedy.")
]

judge_app = typer.Typer(help="Judges of answers: how well they agree with people.", no_args_is_help=True)


@judge_app.callback()
def _judges() -> None:
    """Keeps `validate` a command of its own."""


@judge_app.command()
@long_running
def validate(
    judge: Annotated[str, typer.Argument(help=f"The judge to be measured: {JUDGE_HELP}")],
    labels: Annotated[
        list[Path],
        typer.Option(help="Human labels as published by XSTest, MSTS or HarmBench. Repeatable."),
    ],
    judge_model: JudgeModel = None,
    judge_tokens: JudgeTokens = None,
    judge_temperature: JudgeTemperature = 0.0,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Measure a judge against human labels: balanced accuracy, kappa and confusion matrix, by model."""
    from rich.console import Console

    from davsp.judges.cost import cost_of
    from davsp.judges.labels import read_labels
    from davsp.judges.validate import check_can_tell
    from davsp.judges.validate import validate as measure
    from davsp.util.files import sha256
    from davsp.util.progress import bar

    answers = [answer for file in labels for answer in read_labels(file)]
    judging = load_judge(judge, judge_model, tokens=judge_tokens, temperature=judge_temperature)
    if len({file.resolve() for file in labels}) < len(labels):
        raise InputError("a file of labels is named twice, and its answers would count twice.")
    check_can_tell(judging, answers)
    if judging.model_name:
        say(str(cost_of(judging, [(a.criterion, a.question, a.response) for a in answers])))
    with bar(f"Asking {judge}", len(answers), quiet=as_json) as advance:
        results = measure(judging, answers, seed=seed, advance=advance)
    results["labels"] = [{"file": file.name, "sha256": sha256(file)} for file in labels]
    if as_json:
        print_json(results)
        return
    console = Console()
    for criterion in (Criterion.REFUSAL, Criterion.HARM):
        if figures := results.get(criterion.value):
            console.print(_table(f"{judge} and people on {criterion}", figures))
            for reason, count in figures["reasons"].items():
                console.print(f"{count} unscored: {reason}", markup=False)


def _table(title: str, figures: dict[str, Any]) -> Table:
    from rich.markup import escape
    from rich.table import Table

    table = Table("model", "n", "balanced accuracy", "kappa", "sensitivity", "specificity", "unscored", title=title)
    for name, row in [*figures["models"].items(), ("all", figures["all"])]:
        table.add_row(
            escape(name),
            str(row["n"]),
            _cell(row["balanced_accuracy"], "value"),
            _cell(row["kappa"], "value"),
            _cell(row["sensitivity"], "rate"),
            _cell(row["specificity"], "rate"),
            str(row["unscored"]),
        )
    return table


def _cell(figure: dict[str, Any], key: str) -> str:
    if figure[key] is None:
        return "-"
    return f"{figure[key]:.3f} [{figure['low']:.3f}, {figure['high']:.3f}]"
