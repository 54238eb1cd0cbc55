"""What a change would do: from two assemblies to one comment."""
