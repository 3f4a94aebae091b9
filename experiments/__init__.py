"""What produces the tables of the documentation: whole comparisons, each a command."""
