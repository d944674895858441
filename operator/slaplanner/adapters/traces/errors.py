"""What reading a trace raises."""


class TraceError(Exception):
    """A trace cannot be used; the message says what was found and what was wanted."""
