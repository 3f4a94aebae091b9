"""Defences: what stands between a query and a model.

Some rewrite a query, as a visual safety prompt does; some answer it themselves, asking the model several times. Each
file declares one: its kind, its options, how it is fitted and loaded. Importing this package imports none of them.
"""

from davsp.defences.loading import DEFENCES, check_served, fitted_kind, load_defence

__all__ = ["DEFENCES", "check_served", "fitted_kind", "load_defence"]
