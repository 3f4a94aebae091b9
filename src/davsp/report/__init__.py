"""Evaluations as pages, tables, figures and tests of significance."""
