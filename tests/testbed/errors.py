"""What can go wrong while a bed is made, each with a sentence for the person at the keyboard."""


class TestBedError(Exception):
    """Base of everything the test bed raises on purpose."""

    __test__ = False  # pytest would take the name for a class of tests


class MachineLacksError(TestBedError):
    """A part is neither installed nor buildable here; the message says what to install."""


class BuildFailedError(TestBedError):
    """The Go toolchain ran and failed; the message ends with its last lines."""


class PartFailedError(TestBedError):
    """A started part died or never became ready; the message ends with the tail of its log."""
