"""What the scripts share: the address to use, and a check that says what was expected."""

import sys


def address():
    """Host and port of the server, from the command line."""
    host, port = sys.argv[1].rsplit(":", 1)
    return host, int(port)


def url(database=0):
    """The same, as libraries take it."""
    host, port = address()
    return f"redis://{host}:{port}/{database}"


def same(found, expected, what):
    """Ends the script with a sentence unless both are equal."""
    if found != expected:
        raise SystemExit(f"{what}: expected {expected!r}, found {found!r}")
