"""Constructs of the Delivery stack."""
