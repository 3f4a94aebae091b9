"""`davsp show`: what a folder of ours is, in about ten lines."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from davsp.cli.options import AsJson, print_json
from davsp.errors import MALFORMED, ArtefactError, InputError
from davsp.util.files import parse_json, sha256

Facts = dict[str, str]
"""What is told of a folder: lines by what they are about, in order."""


def show(
    folder: Annotated[Path, typer.Argument(help="A folder that a command of davsp wrote.")],
    as_json: AsJson = False,
) -> None:
    """Say what a folder is: a prompt, a fitted defence, a vector, an evaluation, drawn or attacked queries, a
    reader's card."""
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder. Give one that a command of davsp wrote.")
    facts = describe(folder)
    if as_json:
        print_json(facts)
        return
    width = max(map(len, facts))
    for about, told in facts.items():
        print(f"{about:<{width}}  {' '.join(told.split())}")


def describe(folder: Path) -> Facts:
    """What a folder is, under "folder", and what its own file says of it.

    Raises InputError for a folder that is none of ours, ArtefactError where its file is damaged.
    """
    for name, about in _KINDS.items():
        if (folder / name).is_file():
            if name.endswith(".jsonl"):
                return about(folder, {})
            file = folder / name
            try:
                content = parse_json(file.read_text("utf-8"))
                return {name: told for name, told in about(folder, content).items() if told}
            except (OSError, *MALFORMED) as error:
                raise ArtefactError(f"{file} is damaged ({error}): copy or make it again.") from error
    if parts := sorted(file.parent.name for file in folder.glob("*/results.json")):
        return {"folder": "evaluations, each in a folder of its own", "folders": ", ".join(parts)}
    if any(folder.glob("logs/*.eval")):
        return {"folder": "an evaluation that is not finished: the command that began it goes on with it"}
    raise InputError(
        f"{folder} is no folder that davsp wrote: it holds none of {', '.join(_KINDS)}. Give the folder itself, not "
        "one above or below it."
    )


def _defence(folder: Path, config: Any) -> Facts:
    """A visual safety prompt, or a fitted baseline."""
    if "base_model" not in config:
        if "model_type" in config:
            raise InputError(
                f"{folder} holds a model ({config['model_type']}), and no work of davsp: give it as --model."
            )
        raise InputError(f"{folder / 'config.json'} is not of davsp. Give a folder that a command of davsp wrote.")
    base, training = config["base_model"], config.get("training") or {}
    baseline = config.get("kind") if config.get("kind") != "visual-safety-prompt" else None
    options = training.get("config") or config.get("config") or {}
    others = [model["name"] for model in config.get("further_models", ())]
    return {
        "folder": f"a defence fitted by {baseline}" if baseline else "a visual safety prompt",
        "name": config["name"],
        "image": _visual(config.get("visual")),
        "prefix": config.get("prefix") or "",
        "made for": ", ".join([f"{base['name']} ({base['family']}, weights {_short(base.get('weights'))})", *others]),
        "aligned": _aligned(training) if training else "",
        "options": ", ".join(f"{k} {options[k]}" for k in OPTIONS if options.get(k) is not None),
        "at its end": _numbers(training.get("metrics") or config.get("metrics") or {}),
        "data": _digests(training.get("data") or config.get("data") or {}),
        "weights": _weights(folder, config.get("weights_sha256")),
        **_made(config, [base.get("device"), base.get("dtype")]),
    }


OPTIONS = ("direction", "rate", "refusal_rate", "confidence", "fitted_share", "steps", "batch_size", "seed")
"""Of what a defence was made with, what is told in a line."""


def _aligned(training: Mapping[str, Any]) -> str:
    return f"layer {training['layer']}, tau_plus {training['tau_plus']:.2f}, tau_minus {training['tau_minus']:.2f}"


def _visual(visual: Mapping[str, Any] | None) -> str:
    if visual is None:
        return "left as it is"
    size = f"{visual['width']} x {visual['height']} pixels"
    if visual["mode"] == "border":
        return f"border of {visual['border']} pixels, on {size}"
    return f"{visual['mode']}, {size}"


def _weights(folder: Path, digest: str | None) -> str:
    if digest is None:
        return ""
    file = folder / "model.safetensors"
    if not file.is_file():
        return f"WARNING: {file.name} is not there"
    same = sha256(file) == digest
    return f"{file.name}, SHA-256 {_short(digest)}" if same else f"WARNING: {file.name} is not the one that was saved"


def _vector(_: Path, content: Any) -> Facts:
    origin, layer = content["origin"], content["layer"]
    at = next((s for s in content["statistics"] if s["layer"] == layer), None)
    sides = (f"{name} {c['malicious']} malicious + {c['benign']} benign" for name, c in _counts(origin))
    return {
        "folder": "a harmfulness vector",
        "made for": f"{origin.get('model')} ({origin.get('family')}, weights {_short(origin.get('weights'))})",
        "layer": f"{layer} of {len(content['statistics']) or 'unknown'}",
        "separates": f"AUROC {at['auroc']:.3f}, d {at['separation']:.2f} ± {at['separation_error']:.2f}" if at else "",
        "direction": " of ".join(origin[part] for part in ("direction", "fit_on") if origin.get(part)),
        "prefix": origin.get("prefix") or "",
        "queries": ", ".join(sides),
        "data": f"digest {_short(origin.get('data'))}",
        **_made(origin, [origin.get("device"), origin.get("dtype")]),
    }


def _counts(origin: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    yield from ((name, origin[name]) for name in ("fitting", "validation") if name in origin)


def _evaluation(folder: Path, _: Any) -> Facts:
    from davsp.judges.rates import pooled
    from davsp.rates import Measure, Rates
    from davsp.results import read_results

    results = read_results(folder)

    def told(name: str, rates: Rates) -> str:
        parts = []
        for measure in Measure:
            rate = pooled(rates[measure].values())
            if rate and (shown := rate.in_percent(sign=" %")):
                parts.append(f"{measure} {shown} n={rate.n}")
        return ", ".join([*parts, *([f"{results.unscored[name]} unscored"] if results.unscored[name] else [])])

    asked = f"{results.queries}, chosen by seed {results.seed}, digest {_short(results.data)}"
    identities = {name: f" ({digest})" for name, digest in results.identities.items()}
    return {
        "folder": "an evaluation",
        "model": f"{results.model} ({_short(results.model_identity)})",
        "benchmark": f"{results.benchmark.title}, {results.benchmark.variant}" if results.benchmark else "",
        "queries": asked,
        "judge": f"{results.judge}{f' ({results.judge_identity})' if results.judge_identity else ''}",
        **{f"behind {name}": told(name, rates) for name, rates in results.defences.items()},
        "defences": ", ".join(f"{name}{identities.get(name, '')}" for name in results.defences),
        "remarks": "; ".join(results.remarks),
        **_made(results.model_dump(mode="json"), [results.device, results.dtype]),
    }


def _draw(folder: Path, content: Any) -> Facts:
    sides = [name for name in ("malicious", "benign") if name in content]
    splits = {file.stem: sum(1 for _ in file.open("rb")) for file in sorted(folder.glob("*.jsonl"))}
    return {
        "folder": "drawn queries",
        "queries": ", ".join(f"{name} {n}" for name, n in splits.items()),
        "kinds": ", ".join(content["kinds"]),
        "texts": ", ".join(f"{s} {content[s]['texts']} (digest {_short(content[s]['digest'])})" for s in sides),
        "images": f"{content['side']} x {content['side']} pixels, typefaces {', '.join(content['fonts'])}",
        "seed": str(content["seed"]),
        **_made({"versions": {name: content[name] for name in ("davsp", "pillow") if name in content}, **content}),
    }


def _attack(folder: Path, content: Any) -> Facts:
    options, withstood = content["options"], content.get("withstood") or {}
    last = max(withstood, key=int, default=None)
    rate = withstood[last] if last is not None else None
    return {
        "folder": "queries rewritten by an attack" + ("" if (folder / "queries.jsonl").is_file() else ", not finished"),
        "attack": content["name"],
        "options": ", ".join(f"{name} {value}" for name, value in options.items() if value is not None),
        "against": ", ".join(content["against"]),
        "model": content["model"] or "",
        "attacked": f"{content['queries']} queries, seed {content['seed']}",
        "took": f"{content['steps']:,} steps, {content['calls']:,} calls of the model, {content['seconds']:.0f} s",
        "withstood": f"{100 * rate['rate']:.1f} % of {rate['n']} after {last} steps" if rate and rate["n"] else "",
        **_made(content),
    }


def _card(_: Path, content: Any) -> Facts:
    rows = {}
    for row in content["rows"]:
        figure = row["figure"]
        interval = f" [{100 * figure['low']:.1f}, {100 * figure['high']:.1f}]" if figure["low"] is not None else ""
        rows[f"{row['asked']}: {row['measured']}"] = f"{100 * figure['value']:.1f} %{interval} n={figure['n']}"
    return {
        "folder": "a card of a model that reads",
        "model": f"{content['model']} {content['version']} ({_short(content['identity'])})",
        "seed": str(content["seed"]),
        **rows,
        **_made(content, [content["machine"]]),
    }


def _training(folder: Path, _: Any) -> Facts:
    """A run that has not come to its end, by its log."""
    from davsp.training.run_state import read_metrics

    records = read_metrics(folder)
    validated = [record["validation"] for record in records if "validation" in record]
    return {
        "folder": "a training run that is not finished: the command that began it goes on with it",
        "steps": str(max((int(record["step"]) for record in records), default=0)),
        "last checked": _numbers(validated[-1]) if validated else "not yet",
    }


def _made(content: Mapping[str, Any], hardware: Sequence[str | None] = ()) -> Facts:
    made = content.get("provenance") or {}
    versions = [f"{name} {number}" for name, number in (content.get("versions") or {}).items()]
    return {
        "computed on": ", ".join([*filter(None, hardware), *versions]),
        "read from": ", ".join(made.get("sources") or ()),
        "made": " by: ".join(filter(None, (made.get("date"), made.get("command")))),
    }


def _numbers(metrics: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in metrics.items())


def _digests(data: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {_short(digest)}" for name, digest in data.items())


def _short(digest: str | None) -> str:
    return digest[:12] if digest else "unknown"


_KINDS: Mapping[str, Callable[[Path, Any], Facts]] = {
    "results.json": _evaluation,
    "config.json": _defence,
    "vector.json": _vector,
    "draw.json": _draw,
    "attack.json": _attack,
    "card.json": _card,
    "metrics.jsonl": _training,
}
"""What describes a folder, by the file that tells it from others: the first that is there."""
