"""The model server. A copy of this package is in every model package."""
