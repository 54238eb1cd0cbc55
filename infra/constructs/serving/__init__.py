"""Constructs of the Serving stack."""
