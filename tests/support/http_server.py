"""An HTTP server for the other side of a test."""

from __future__ import annotations

from http.server import ThreadingHTTPServer


class Server(ThreadingHTTPServer):
    """Takes a hundred connections at once.

    The library's own has a queue of five. What does not fit is connected as its client sees it, and its request is lost
    until the client's kernel repeats it, which takes more than ten seconds on a busy machine.
    """

    request_queue_size = 128
