"""What davsp-theirs adds to davsp."""
