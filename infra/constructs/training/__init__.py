"""Constructs of the Training stack."""
