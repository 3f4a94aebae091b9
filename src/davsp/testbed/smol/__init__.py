"""The testbed's LLaVA that reads English: a published decoder, and trained parts that make it see, put together."""
