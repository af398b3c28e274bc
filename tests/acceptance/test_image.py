"""The image, as far as it can be tried without an engine: the Dockerfile's steps are carried out in a directory.

What they leave is sealed and runs as the image's user: a master and the web server as they are, and a worker with a
team's handlers, which a team's Dockerfile would copy into the working folder.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from jobs.models import Worker
from queues import messages, services
from queues.sqs import OutgoingMessage
from queuesite.foundation.databases import collection
from tests.support.image import USER, Image, python_for_all, sent
from tests.support.processes import ROOT
from tests.support.servers import free_port
from tests.support.waiting import eventually

pytestmark = [pytest.mark.usefixtures("queues"), pytest.mark.long, pytest.mark.timeout(600)]

#: On a machine that runs other tests too.
LONG = 180.0
HANDLERS = """
import os
from pathlib import Path

from queues.handlers import handler


@handler("of-a-team")
def handle(message):
    Path(os.environ["DATA_DIR"], message.body).write_text(str(os.getuid()))
"""


@pytest.fixture
def image() -> Iterator[Image]:
    if python_for_all() is None:
        assert "CI" not in os.environ
        pytest.skip("no Python that another user may run; on Debian: apt-get install python3")
    # Not pytest's directory, which only its owner may enter.
    root = Path(tempfile.mkdtemp(prefix="queuesite-image-"))
    made = Image(root)
    made.build("build")
    made.build("app")
    yield made
    made.unseal()
    shutil.rmtree(root)


def health_check(port: int) -> list[str]:
    """What compose.yaml asks the web server."""
    web = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]["web"]
    _, *command = web["healthcheck"]["test"]
    return [word.replace(":8000/", f":{port}/") for word in command]


def test_what_is_sent_is_what_the_wheel_needs() -> None:
    files = set(sent())
    assert {"pyproject.toml", "queuesite/__main__.py", ".ci/wheel_metadata.py", "requirements.lock"} <= files
    assert not {file for file in files if file.startswith((".git/", "tests/", "docs/", "deploy/"))}


def test_its_steps_make_what_runs_as_nobody_special_from_a_root_that_is_read_only(image: Image, tmp_path: Path) -> None:
    assert image.command == ["queuesite", "runweb"]
    assert not (image.root / "tmp" / "build").exists()
    (image.folder / "handlers.py").write_text(HANDLERS)
    image.seal()
    port = free_port()
    servers = ("MONGODB_URI", "MONGODB_NAME", "AWS_SQS_ENDPOINT", "QUEUE_NAME_PREFIX")
    keys = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    settings = {name: os.environ[name] for name in (*servers, *keys, "NO_PROXY")}
    settings |= {"LISTEN_QUEUES": "0", "WEB_HOST": "127.0.0.1", "WEB_PORT": str(port)}
    settings |= {"ALLOWED_HOSTS": ".example.com,queues.example.org", "BEHIND_TLS_PROXY": "1"}
    running: list[subprocess.Popen[bytes]] = []

    def log(name: str) -> Path:
        return tmp_path / name

    def start(name: str, *command: str) -> None:
        running.append(image.start(*command, log=log(name), **settings))

    def alive() -> bool:
        assert [process.poll() for process in running] == [None] * len(running), everything()
        return collection(Worker).count_documents({}) == 1 and "Uvicorn running" in log("web").read_text()

    def everything() -> str:
        return "\n".join(path.read_text() for path in sorted(tmp_path.iterdir()))

    try:
        start("web")
        start("master", "queuesite", "runmaster")
        start("worker", "queuesite", "runworker")
        eventually(alive, LONG, "the web server listens and the worker has registered")
        checked = image.start(*health_check(port), log=log("check"), **settings)
        assert checked.wait(LONG) == 0, everything()

        queue = services.create("image", settings={"handler": "of-a-team"})
        messages.send(queue.name, [OutgoingMessage("handled")])
        handled = image.root / "data" / "handled"
        eventually(lambda: handled.exists() and handled.read_text() != "", LONG, "the team's handler has run")
        assert int(handled.read_text()) == (USER if os.geteuid() == 0 else os.getuid())
    finally:
        for process in running:
            process.terminate()
        ended = [process.wait(LONG) for process in running]
    # uvicorn ends in order, and then by the signal that it got.
    assert ended == [-signal.SIGTERM, 0, 0], everything()
    assert "Traceback" not in everything()
