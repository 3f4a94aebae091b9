"""Images: opening them safely, pixels as tensors, the sizes a model takes."""
