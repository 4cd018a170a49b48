"""What the user can fix, told in one line."""


class UserError(Exception):
    """A fault in the input, the configuration or the surroundings that the user can fix.

    The command line prints the message without a traceback and exits with code 2. The message
    names the file, line or field, and says what to do.
    """
