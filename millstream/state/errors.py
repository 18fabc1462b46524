"""The errors of a state."""


class FencedError(Exception):
    """Another worker has taken over the partition."""


class TooLargeError(Exception):
    """The entries do not fit into one record batch; nothing was appended."""


class UnrecoverableError(Exception):
    """The partition cannot continue, and a retry does not help; the text says what does."""


class UnknownFormatError(UnrecoverableError):
    """A later version wrote the state log, in a format that this version cannot read."""

    def __init__(self, found: object, known: int) -> None:
        super().__init__(
            f"its state log was written in format {found}, by a later version of Millstream; this version "
            f"reads formats up to {known}. Start that version again: a downgrade is not possible. Or start "
            "under another MILLSTREAM_APP_ID, which begins with an empty state"
        )
