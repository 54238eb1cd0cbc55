"""Capacity: instances and concurrency, simulated, recommended, and measured on the endpoints themselves."""

# AWS published 181 s for instance and image of a scale-out.
START_S = 181.0
