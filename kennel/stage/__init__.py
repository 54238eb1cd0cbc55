"""A deployed stage: its outputs, templates, logs and cloud assemblies."""
