"""A server that returns credentials as AWS's do: to containers, to instances, and for a web identity (STS)."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.support.http_server import Server

_STS = """<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
<AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>{key}</AccessKeyId><SecretAccessKey>secret</SecretAccessKey>
<SessionToken>{token}</SessionToken><Expiration>{expires}</Expiration></Credentials>
<AssumedRoleUser><AssumedRoleId>id</AssumedRoleId><Arn>arn:aws:sts::1:assumed-role/r/s</Arn></AssumedRoleUser>
</AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"""


class CredentialSource:
    """The server. Each request gets another key: `ASIA1` with the token `token-1`, and so on."""

    def __init__(self) -> None:
        self.given = 0
        #: How long the credentials are valid, in seconds. boto3 renews them if less than 15 minutes are left.
        self.lifetime = 3_600.0
        #: If set, the code of the error that STS answers.
        self.refusal = ""
        self.address = ""

    def next(self) -> dict[str, Any]:
        """The next credentials, in the format for containers and instances."""
        self.given += 1
        expires = datetime.now(UTC) + timedelta(seconds=self.lifetime)
        return {
            "Code": "Success",
            "AccessKeyId": f"ASIA{self.given}",
            "SecretAccessKey": "secret",
            "Token": f"token-{self.given}",
            "Expiration": expires.strftime("%Y-%m-%dT%H:%M:%SZ"),
        }

    def answer(self, method: str, path: str) -> tuple[int, str]:
        """Status and text for a request."""
        if path == "/container":
            return 200, json.dumps(self.next())
        if method == "PUT":  # /latest/api/token
            return 200, "a-token-of-the-instance-metadata"
        if path.endswith("/security-credentials/"):
            return 200, "the-role"
        if path.endswith("/security-credentials/the-role"):
            return 200, json.dumps(self.next())
        if self.refusal:
            return (
                403,
                f"<ErrorResponse><Error><Code>{self.refusal}</Code><Message>no</Message></Error></ErrorResponse>",
            )
        new = self.next()
        return 200, _STS.format(key=new["AccessKeyId"], token=new["Token"], expires=new["Expiration"])


@contextmanager
def credential_source() -> Iterator[CredentialSource]:
    """Run the server."""
    source = CredentialSource()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, text = source.answer(self.command, self.path)
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        do_POST = do_PUT = do_GET  # noqa: N815 - as the base class has it

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - as its base class has it
            pass

    server = Server(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    source.address = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield source
    finally:
        server.shutdown()
        server.server_close()
