"""Operating a stage: bootstrap, preflight, health, failures, teardown, rehearsal, demo."""
