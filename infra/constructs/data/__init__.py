"""Constructs of the Data stack."""
