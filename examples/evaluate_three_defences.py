"""Measure safety, usefulness and over-refusal behind three defences, and write the page that shows them."""

from __future__ import annotations

import davsp


def main(steps: int = 60, per_group: int = 32) -> None:
    model = davsp.load_model("testbed")
    train = davsp.load_queries("testbed", split="train")
    test = davsp.load_queries("testbed", split="test", per_group=per_group)
    prompt = davsp.train(model, train, steps=steps, out="runs/example")

    evaluation = davsp.evaluate(model, test, defences=[None, "adashield-s", prompt], max_new_tokens=24)

    print(evaluation.table())  # every rate with its N and 95 % interval
    frame = evaluation.to_pandas()
    print(frame[frame.kind == "all"][["defence", "measure", "rate", "low", "high", "n"]])
    print("page:", evaluation.report("runs/example.html"))


if __name__ == "__main__":
    main()
