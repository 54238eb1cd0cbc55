"""What can go wrong for an operator: one line that says what, and what to do."""


class KennelError(Exception):
    """Ends a command with exit status 1 and the message; the message names the remedy."""
