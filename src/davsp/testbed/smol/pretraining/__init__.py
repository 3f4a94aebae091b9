"""How the trained parts of the LLaVA that reads English come about: the whole recipe, for one GPU."""
