"""A defence of your own, compared with others. In a package of yours, an entry point gives it a name everywhere:

[project.entry-points."davsp.defences"]
polite = "my_package.my_defence:Polite"
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import davsp


@dataclass(frozen=True)
class Polite(davsp.RewritingDefence):
    """Asks the model to think of others before it answers."""

    words: str = "be careful ."
    name: str = "polite"

    @property
    def identity(self) -> str:
        """All that changes what it does: answers that were given under another identity are asked for again."""
        return self.words

    def defend(self, query: davsp.Query) -> davsp.Query:
        """The query as the model is to see it."""
        return replace(query, question=f"{self.words}\n{query.question}")


def main(per_group: int = 32) -> None:
    model = davsp.load_model("testbed")
    test = davsp.load_queries("testbed", split="test", per_group=per_group)
    print(davsp.evaluate(model, test, defences=[None, "prefix", Polite()], max_new_tokens=24).table())


if __name__ == "__main__":
    main()
