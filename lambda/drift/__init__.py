"""The hourly drift check."""
