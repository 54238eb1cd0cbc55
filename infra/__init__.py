"""What is deployed: one validated stage (config.py), one file per stack, the parts in constructs/."""
