"""Why a peer has no time for a row. In a file of its own because peer.py runs as the main module and cannot be imported again."""


class Refused(Exception):
    """This peer has nothing for this row; the text says why."""
