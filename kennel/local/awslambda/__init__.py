"""Lambda: metrics, and the limits of function URLs."""
