"""The model server. A copy of this package is in every model package."""

# Where it listens in the container.
PORT = 8081
