"""Clients of the function URL."""
