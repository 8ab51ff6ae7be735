"""The one exception that a user is meant to read."""


class InputError(ValueError):
    """Bad usage or bad input.

    Its message is a single line: what is wrong, in which file, what to do about it. Command lines
    print that line on stderr and exit with status 2; programs can catch it.
    """
