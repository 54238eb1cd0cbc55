"""The model package: candidates, gates, report, wheels."""
