"""The dated price table, and what a stack costs by it."""
