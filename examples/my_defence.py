"""A defence of your own, compared with others: copy this file, and change what `defend` does.

Where the file lies: `davsp evaluate --defence my_defence:Polite --out runs/mine`
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from pydantic import BaseModel, ConfigDict, Field

import davsp


class PoliteOptions(BaseModel):
    """What may be chosen on the command line: --defence my_defence:Polite:words='look twice .'"""

    model_config = ConfigDict(frozen=True, extra="forbid")

    words: str = Field("be careful .", description="What stands before the question.")


@dataclass(frozen=True)
class Polite(davsp.RewritingDefence):
    """Asks the model to think of others before it answers."""

    words: str = "be careful ."

    kind = name = "polite"
    Options = PoliteOptions

    @classmethod
    def from_options(cls, options: PoliteOptions) -> Self:
        return cls(options.words)

    @property
    def identity(self) -> str:
        """All that changes what it does: answers that were given under another identity are asked for again."""
        return self.words

    def defend(self, query: davsp.Query) -> davsp.Query:
        """The query as the model is to see it: image and question, either or both of them changed."""
        return query.with_prefix(self.words)


def main(per_group: int = 32) -> None:
    model = davsp.load_model("testbed")
    test = davsp.load_queries("testbed", split="test", per_group=per_group)
    print(davsp.evaluate(model, test, defences=[None, "prefix", Polite()], max_new_tokens=24).table())


if __name__ == "__main__":
    main()
