"""The error for operators: one line that says what is wrong, and what to do."""


class KennelError(Exception):
    """Ends a command with exit status 1 and the message; the message names the remedy."""
