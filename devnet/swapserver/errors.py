"""What the server says no with."""


class RefusedError(Exception):
    """The client asks for what the server does not do; the message is for it to read."""
