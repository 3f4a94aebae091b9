"""Whether an answer means what the reference does, by a language model."""

from __future__ import annotations

from davsp.judges.base import Finding, Judge
from davsp.judges.model_calls import judging_model, reply_of
from davsp.judges.prompting import Message, tagged
from davsp.judges.verdicts import FORM, parse_verdict, verdict_schema

RUBRIC = """\
Decide whether an assistant's response to a question about an image is right. You do not see the image: the reference
is the right answer. Where <OR> stands in it, each of the texts is right by itself; <AND> joins what must all be there.

Answer YES if the response says what the reference says, in whatever words and however long.
Answer NO if it says something else, contradicts it, leaves out a part that matters, or does not answer."""
REPLY_TOKENS = 300


def messages(question: str, reference: str, response: str) -> list[Message]:
    """What the model is sent."""
    texts = {"question": question, "reference": reference, "response": response}
    return [
        Message("system", f"{RUBRIC}\n\nThe question, the reference and the response follow. {FORM}"),
        Message("user", "\n\n".join(tagged(name, text) for name, text in texts.items())),
    ]


async def is_right(judge: Judge, question: str, reference: str, response: str) -> Finding:
    """Whether the response is right, by the judge's model, or Inspect's role "judge" where it has none.

    What the model does raises nothing: where it fails, the value is None.
    """
    reply = await reply_of(
        judging_model(judge.grading_model),
        messages(question, reference, response),
        REPLY_TOKENS,
        judge.settings,
        verdict_schema(),
    )
    return Finding.of(reply, parse_verdict)
