"""An answer other than success."""


class Problem(Exception):  # noqa: N818 - an answer, not a fault of the service
    """A request that cannot be answered.

    Attributes:
        status: of the answer.
        message: one line, for the answer's field `error`.
    """

    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status = status
        self.message = message


def brief(text: str) -> str:
    """An id or name of a request, quoted and shortened for a message."""
    return ascii(text if len(text) <= 80 else f"{text[:80]}...")
