"""Constructs, one per file, in a folder for the stack that creates them."""
