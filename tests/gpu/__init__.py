"""What is checked on a machine with a GPU: `python -m tests.gpu`, and the tests that are marked `gpu`."""
