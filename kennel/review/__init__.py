"""The effects of a change: from two assemblies to one comment."""
