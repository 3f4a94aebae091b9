"""Attacks: queries rewritten so that a model does what it should refuse.

Some read the model's gradient, and that of the defence before it; some know nothing but the query. Each file declares
one family: its kind, its options, and what it makes of a query. Importing this package imports none of them.
"""

from davsp.attacks.loading import ATTACKS, load_attack

__all__ = ["ATTACKS", "load_attack"]
