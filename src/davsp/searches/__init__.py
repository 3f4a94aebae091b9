"""Searches for what makes a model say something: in tokens (GCG) and in pixels (signed steps)."""
