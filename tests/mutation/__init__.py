"""Central lines broken on purpose: each must make a test fail. `python -m tests.mutation` tries them all."""
