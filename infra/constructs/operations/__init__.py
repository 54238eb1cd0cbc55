"""Constructs of the Operations stack: alarms, dashboard, drift check, budget."""
