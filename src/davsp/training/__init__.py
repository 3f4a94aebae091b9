"""Training a visual prompt, and the loop of everything that is fitted."""
