"""How many instances, how much concurrency: simulated, recommended, and measured on the endpoints themselves."""
