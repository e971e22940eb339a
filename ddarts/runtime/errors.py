"""The two kinds of error a user meets: a wrong request (exit 2) and a fault at work (exit 1).

Both carry one line that names the thing and says what to do. Anything else that escapes is a bug.
"""


class DdartsError(Exception):
    """A fault with a clear one-line message; the command line exits with 1."""

    exit_code = 1


class UsageError(DdartsError):
    """A wrong option, name or file given by the user; the command line exits with 2."""

    exit_code = 2


class DivergedError(DdartsError):
    """A loss or gradient is no longer a finite number; nothing was updated from it."""
