"""Fabricated evaluations in the layout of `davsp evaluate`: which verdict each query gets is drawn from a seed."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from davsp.judges.rates import JudgedSample, summarise
from davsp.judges.validate import Agreement
from davsp.rates import Verdict

Groups = Sequence[tuple[str, bool, bool, int]]
"""Of each group its name, whether it is malicious, whether it has reference answers, and how many queries."""

SAFETY: Groups = [("violence", True, False, 30), ("fraud", True, False, 20)]
USEFULNESS: Groups = [("counting", False, True, 30), ("reading", False, True, 20)]
OVER_REFUSAL: Groups = [("looks harmful", False, False, 40)]

FOUR: Groups = [("violence", True, False, 4)]
R, N, U = Verdict.RESISTED, Verdict.NOT_RESISTED, Verdict.UNSCORED


def benchmark(name: str, variant: str, purpose: str = "safety", **more: Any) -> dict[str, Any]:
    """What results.json says of a benchmark."""
    facts = {"name": name, "title": name.replace("_", " ").title(), "variant": variant, "purpose": purpose}
    return {**facts, "licence": "MIT", "citation": "Nobody, Nothing, 2026.", "content": "Harmless.", **more}


def score(value: float, n: int = 50) -> dict[str, Any]:
    """An official figure as results.json has it."""
    return {"value": value, "n": n, "low": value - 2, "high": value + 2, "interval": "bootstrap"}


def verdicts(groups: Groups, good: float, seed: int) -> list[Verdict]:
    """A verdict for every query: a success with probability `good`, and never a refusal of what is useful."""
    rng = random.Random(seed)
    found = []
    for _, malicious, has_reference, n in groups:
        for _ in range(n):
            well = rng.random() < good
            if malicious:
                found.append(Verdict.RESISTED if well else Verdict.NOT_RESISTED)
            elif has_reference:
                found.append(Verdict.CORRECT if well else Verdict.WRONG)
            else:
                found.append(Verdict.ANSWERED if well else Verdict.OVER_REFUSED)
    return found


def write_evaluation(
    folder: Path,
    groups: Groups,
    behind: Mapping[str, Sequence[Verdict]],
    *,
    model: str = "some/model",
    judge: tuple[str, str | None] = ("rules", None),
    seed: int = 0,
    first: int = 0,
    **more: Any,
) -> Path:
    """Write results.json and transcripts.jsonl; the queries are numbered from `first`."""
    kinds = [group for group in groups for _ in range(group[3])]
    results: dict[str, Any] = {
        "model": model,
        "seed": seed,
        "queries": len(kinds),
        "max_new_tokens": 64,
        "judge": {"name": judge[0], "model": judge[1]},
        "defences": {},
        "unscored": {name: list(said).count(Verdict.UNSCORED) for name, said in behind.items()},
        "seconds": dict.fromkeys(behind, 1.0),
        "versions": {"davsp": "0.2.0"},
        **more,
    }
    for name, said in behind.items():
        judged = [JudgedSample("", g, bad, known, v) for (g, bad, known, _), v in zip(kinds, said, strict=True)]
        results["defences"][name] = summarise(judged).model_dump()
    lines = [
        {
            "id": f"q{number}",
            "group": group,
            "malicious": malicious,
            "question": f"question {number} ?",
            "reference": "this" if has_reference else None,
            "answers": {
                n: {"text": "an answer", "verdict": said[i].value, "error": None} for n, said in behind.items()
            },
        }
        for i, (number, (group, malicious, has_reference, _)) in enumerate(enumerate(kinds, start=first))
    ]
    folder.mkdir(parents=True)
    (folder / "results.json").write_text(json.dumps(results))
    (folder / "transcripts.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


DEFENCES = {"none": 0.5, "adashield-s": 0.7, "uniguard": 0.8, "esiii": 0.85, "davsp": 0.97, "border <only>": 0.9}
"""Defences, and how often each succeeds."""


def write_model(folder: Path, model: str, count: int, *, seed: int = 0) -> Path:
    """A folder as `davsp evaluate --benchmark` writes it: four benchmarks behind so many defences."""
    chosen = dict(list(DEFENCES.items())[:count])

    def behind(groups: Groups) -> dict[str, list[Verdict]]:
        return {name: verdicts(groups, good, seed + i) for i, (name, good) in enumerate(chosen.items())}

    def scores(value: float) -> dict[str, dict[str, Any]]:
        return {name: {"total": score(value - 20 * i)} for i, name in enumerate(chosen)}

    safety = behind(SAFETY)
    safety["davsp" if "davsp" in safety else "none"][0] = Verdict.UNSCORED
    told = benchmark(
        "mm_safetybench",
        "SD_TYPO-paper-test",
        published=1480,
        dropped=["x: no image " + 20 * "folder/"],
    )
    write_evaluation(folder / "mm_safetybench-sd_typo", SAFETY, safety, model=model, seed=seed, benchmark=told)
    told = benchmark("figstep", "tiny")
    write_evaluation(folder / "figstep-tiny", SAFETY, behind(SAFETY), model=model, seed=seed, benchmark=told)
    told = benchmark("mme", "all", "usefulness", title="MME")
    more: dict[str, Any] = {"benchmark": told, "scores": scores(1800)}
    write_evaluation(folder / "mme-all", USEFULNESS, behind(USEFULNESS), model=model, seed=seed, **more)
    told = benchmark("mossbench", "safe", "over-refusal", title="MOSSBench")
    write_evaluation(
        folder / "mossbench-safe", OVER_REFUSAL, behind(OVER_REFUSAL), model=model, seed=seed, benchmark=told
    )
    return folder


def write_validation(folder: Path) -> Path:
    """A file of a judge's agreement with people, as `davsp judge validate --json` prints it."""
    figures = Agreement(40, 2, 3, 55, 1).to_json(0)
    told = {"judge": {"name": "rules", "model": None}, "labels": [{"file": "labels.csv", "sha256": "0"}]}
    file = folder / "validation.json"
    file.write_text(json.dumps({**told, "refusal": {"all": figures, "models": {"gpt": figures}, "reasons": {}}}))
    return file
