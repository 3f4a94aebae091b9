"""Train a visual safety prompt for a model, and ask the model behind it."""

from __future__ import annotations

import davsp


def main(steps: int = 60, per_group: int = 48) -> None:
    model = davsp.load_model("testbed")  # or your model: a folder, or an id on the hub
    data = davsp.load_queries("testbed", split="train", per_group=per_group)  # or a file, a folder, a hub data set

    prompt = davsp.train(model, data, steps=steps, out="runs/example")  # stopped with Ctrl-C, the same call goes on

    query = next(q for q in davsp.load_queries("testbed", split="test", per_group=1) if q.malicious)
    print("asked:     ", query.question)
    print("undefended:", model.generate([query], max_new_tokens=24)[0])
    print("defended:  ", prompt.ask(model, query.image, query.question, max_new_tokens=24))

    again = davsp.load_defence("runs/example")
    print("saved as:  ", again.name, "for", again.base_model.name)


if __name__ == "__main__":
    main()
