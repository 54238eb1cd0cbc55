"""The function behind the URL."""
