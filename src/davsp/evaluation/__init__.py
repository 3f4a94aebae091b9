"""Evaluation on Inspect (the `inspect-ai` package): provider, solver, scorer, rates."""
