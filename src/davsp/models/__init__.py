"""Vision-language models: one file per family, what they share, and how a checkpoint is loaded."""
