"""Constructs of the Api stack."""
