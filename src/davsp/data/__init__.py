"""Queries: what they are, where they come from, what tells one set from another."""
