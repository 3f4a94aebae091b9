"""Which lines are broken, how, and which tests are to notice."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import davsp

PACKAGE = Path(davsp.__file__).parent


@dataclass(frozen=True)
class Mutation:
    """`old`, which stands exactly once in `file` (below src/davsp), becomes `new`; `tests` are pytest's arguments."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]

    def occurrences(self, package: Path = PACKAGE) -> int:
        """How often `old` stands in the file, which may not be there."""
        path = package / self.file
        return path.read_text("utf-8").count(self.old) if path.is_file() else 0

    def apply(self, package: Path) -> None:
        """Break the line in a copy of the package."""
        path = package / self.file
        path.write_text(path.read_text("utf-8").replace(self.old, self.new), "utf-8")


LAYOUTS = ("tests/prompts/test_layouts.py",)
FRAME = ("tests/prompts/test_frame.py",)
PROMPT = ("tests/defences/test_visual_safety_prompt.py",)
ASKING = ("tests/cli/test_ask.py",)
TALKS = ("tests/defences/test_conversations.py",)
DEFENCES = ("tests/defences/test_base.py",)
TRAINER = ("tests/training/test_trainer.py",)
LOOP = ("tests/training/test_loop.py",)
VECTOR = ("tests/training/test_vector.py",)
FAMILIES = ("tests/models/test_families.py", "-k", "leaves_something_out and llava")
ACTIVATIONS = ("tests/models/test_activations.py",)
RATES = ("tests/judges/test_rates.py",)
RESULTS = ("tests/test_results.py",)
JUDGEMENT = ("tests/judges/test_judgement.py",)
JUDGING = ("tests/evaluation/test_judging.py",)
EVALUATE = ("tests/evaluation/test_evaluate.py",)
PROCESSES = ("tests/util/test_processes.py",)

MUTATIONS = (
    # What the model gets to see.
    Mutation(
        "training composes no border",
        "prompts/layouts.py",
        "return torch.where(on_device(self.mask(), prompt.device), prompt, padded)",
        "return padded + 0 * prompt",
        LAYOUTS,
    ),
    Mutation(
        "the image lies in the corner of its border",
        "prompts/layouts.py",
        "canvas.paste(self.interior(image), (self.border, self.border))",
        "canvas.paste(self.interior(image), (0, 0))",
        LAYOUTS,
    ),
    Mutation(
        "a frame is not composed",
        "prompts/frame.py",
        "return torch.where(hole, placed, canvas)",
        "return placed + 0 * canvas",
        FRAME,
    ),
    Mutation(
        "the image goes without its border",
        "prompts/visual.py",
        "opened if visual is None else visual.apply_to_image(opened)",
        "opened",
        ASKING,
    ),
    Mutation(
        "the question goes without its prefix",
        "prompts/visual.py",
        ".with_prefix(prefix)",
        "",
        ASKING,
    ),
    Mutation(
        "the prefix stands after the question",
        "data/conversation.py",
        'f"{text}\\n{said}"',
        'f"{said}\\n{text}"',
        PROMPT,
    ),
    Mutation(
        "images of earlier turns go without their border",
        "data/conversation.py",
        "change(number, part) if message.role in chosen",
        "change(number, part) if message is messages[-1]",
        TALKS,
    ),
    Mutation(
        "the prefix stands in the first turn",
        "data/conversation.py",
        "return max(i for i,",
        "return min(i for i,",
        TALKS,
    ),
    Mutation(
        "a template may leave a turn out",
        "models/chat.py",
        "            if problem is None:",
        "            if problem is None or len(shape) > 1:",
        FAMILIES,
    ),
    Mutation(
        "asking sends the undefended image",
        "defences/visual_safety_prompt.py",
        "return query.image, query.question",
        "return open_image(image), query.question",
        PROMPT,
    ),
    Mutation(
        "a prompt fits any model",
        "defences/visual_safety_prompt.py",
        "return differences[0] if all(differences) else []",
        "return []",
        PROMPT,
    ),
    Mutation(
        "a rewriting defence that raises lets the query through",
        "defences/base.py",
        "defended = await asyncio.to_thread(self.defend, query)",
        "[defended] = await asyncio.gather(asyncio.to_thread(self.defend, query), return_exceptions=True)\n"
        "        defended = query if isinstance(defended, Exception) else defended",
        DEFENCES,
    ),
    Mutation(
        "an evaluation asks undefended where a defence raises",
        "evaluation/solver.py",
        "    except BlockedRequest as block:\n",
        "    except ValueError:\n"
        "        answer = (await exchange.ask(Request(query.question, query.image))).text\n"
        "        state.output = ModelOutput.from_content(str(get_model()), answer)\n"
        "    except BlockedRequest as block:\n",
        EVALUATE,
    ),
    # What is trained.
    Mutation(
        "the hinge of malicious queries is turned round",
        "training/losses.py",
        "F.relu(tau_plus - projections)",
        "F.relu(projections - tau_plus)",
        TRAINER,
    ),
    Mutation(
        "the hinge of benign queries is turned round",
        "training/losses.py",
        "F.relu(projections - tau_minus)",
        "F.relu(tau_minus - projections)",
        TRAINER,
    ),
    Mutation(
        "long answers weigh more than short ones",
        "training/losses.py",
        "return total / count",
        "return total / count.mean()",
        TRAINER,
    ),
    Mutation(
        "a sign step climbs",
        "training/optim.py",
        "self.prompt -= rate * gradient.sign()",
        "self.prompt += rate * gradient.sign()",
        TRAINER,
    ),
    Mutation(
        "a border leaves [0, 1]",
        "prompts/layouts.py",
        "prompt.clamp_(0, 1)",
        "pass",
        LAYOUTS,
    ),
    Mutation(
        "an additive change leaves its bound",
        "prompts/layouts.py",
        "prompt.clamp_(-self.eps, self.eps)",
        "pass",
        LAYOUTS,
    ),
    Mutation(
        "the worst prompt is kept",
        "training/trainer.py",
        "self._rank(record) >= self._rank(self.best_record)",
        "self._rank(record) <= self._rank(self.best_record)",
        TRAINER,
    ),
    Mutation(
        "the order of queries does not depend on the seed",
        "training/batches.py",
        "np.random.default_rng([self.seed, self.stream, epoch])",
        "np.random.default_rng([self.stream, epoch])",
        TRAINER,
    ),
    Mutation(
        "training goes on from the state of another run",
        "training/run_state.py",
        'check_same_run(folder, "another run", saved["identity"], identity(), ',
        'check_same_run(folder, "another run", saved["identity"], saved["identity"], ',
        LOOP,
    ),
    Mutation(
        "a border goes on from the state of another border",
        "training/trainer.py",
        "return {name: [part[name] for part in parts] for name in parts[0]}",
        "return {}",
        (*TRAINER, "-k", "another_run"),
    ),
    Mutation(
        "micro-batches weigh too much",
        "training/trainer.py",
        "share = len(part) / size",
        "share = 1.0",
        TRAINER,
    ),
    Mutation(
        "the harmfulness direction points the other way",
        "training/directions.py",
        "means[kind, True] - means[kind, False]",
        "means[kind, False] - means[kind, True]",
        VECTOR,
    ),
    # What is read from the model.
    Mutation(
        "the layer before is read",
        "models/activations.py",
        "model.layers[block - 1].register_forward_hook",
        "model.layers[block - 2].register_forward_hook",
        ACTIVATIONS,
    ),
    Mutation(
        "the pass does not end at the layer",
        "models/activations.py",
        "                raise _LastLayerRecorded",
        "                pass",
        ACTIVATIONS,
    ),
    Mutation(
        "the last token is read instead of the prompt's last",
        "models/activations.py",
        "tokens.last_prompt.to(states.device)].float()",
        "-1].float()",
        ACTIVATIONS,
    ),
    # What answers are worth.
    Mutation(
        "an answer with the forbidden content resists",
        "judges/judgement.py",
        "if self.harmful or not self.forbidden_absent",
        "if self.harmful",
        JUDGEMENT,
    ),
    Mutation(
        "an over-refusal is only a wrong answer",
        "judges/judgement.py",
        "return Verdict.OVER_REFUSED",
        "return Verdict.WRONG",
        JUDGEMENT,
    ),
    Mutation(
        "an empty answer is a refusal",
        "judges/judgement.py",
        'return Judgement(None, None, None, reason="the answer is empty")',
        "return Judgement(True, True if malicious else None, None, harmful=False)",
        JUDGEMENT,
    ),
    Mutation(
        "a judge that cannot tell finds no harm",
        "judges/judgement.py",
        "reason=reason, reply",
        "reason=None, reply",
        JUDGING,
    ),
    Mutation(
        "unscored answers count in rates",
        "judges/rates.py",
        "if verdict is not Verdict.UNSCORED]",
        "]",
        RATES,
    ),
    Mutation(
        "a blocked request is not resisted",
        "judges/rates.py",
        "frozenset({Verdict.RESISTED, Verdict.BLOCKED})",
        "frozenset({Verdict.RESISTED})",
        ("tests/evaluation/test_service_answers.py",),
    ),
    Mutation(
        "a refusal that repeats the reference is right",
        "judges/judgement.py",
        "scoring_named(EXACT if refused else self.scoring)",
        "scoring_named(self.scoring)",
        ("tests/judges/test_scoring.py",),
    ),
    Mutation(
        "an interval of 90 % is told as one of 95 %",
        "rates.py",
        'proportion_ci(confidence_level=0.95, method="wilson")',
        'proportion_ci(confidence_level=0.90, method="wilson")',
        RESULTS,
    ),
    Mutation(
        "an interval is not Wilson's",
        "rates.py",
        'proportion_ci(confidence_level=0.95, method="wilson")',
        'proportion_ci(confidence_level=0.95, method="wilsoncc")',
        RESULTS,
    ),
    # What is kept, found again and shared.
    Mutation(
        "another defence of the same name is not asked again",
        "evaluation/run.py",
        "defence.name, defence.identity])",
        "defence.name])",
        EVALUATE,
    ),
    Mutation(
        "other queries are not asked again",
        "evaluation/run.py",
        "        data,\n        judge.identity,",
        "        judge.identity,",
        EVALUATE,
    ),
    Mutation(
        "a model that was overwritten is not asked again",
        "evaluation/run.py",
        '        evaluated.identity,\n        f"{max_new',
        '        f"{max_new',
        ("tests/evaluation/test_stale.py",),
    ),
    Mutation(
        "tensors of another saving are taken",
        "defences/stored.py",
        "hashlib.sha256(content).hexdigest() != facts.weights_sha256",
        "False",
        PROMPT,
    ),
    Mutation(
        "processes do each other's work",
        "util/processes.py",
        "items[self.rank :: self.count]",
        "items[self.rank :]",
        (*PROCESSES, "-k", "every_item"),
    ),
)
