"""What an import leaves open is found, in the fork server too."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

from jobs.worker.inheritance import open_sockets, running_threads
from queuesite.foundation.config import BASE_DIR


def test_a_connection_is_found_with_its_addresses() -> None:
    before = set(open_sockets())
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        found = {number: what for number, what in open_sockets().items() if number not in before}
        port = server.getsockname()[1]
        assert found[client.fileno()].endswith(f"-> 127.0.0.1:{port}")
        assert found[server.fileno()] == f"AF_INET SOCK_STREAM 127.0.0.1:{port}"
    assert set(open_sockets()) <= before | {server.fileno(), client.fileno()}


def test_files_are_none() -> None:
    with Path(__file__).open() as file:
        assert file.fileno() not in open_sockets()


def test_a_thread_is_found_by_its_name() -> None:
    over = threading.Event()
    thread = threading.Thread(target=over.wait, args=(20,), name="of-a-client", daemon=True)
    thread.start()
    assert "of-a-client" in running_threads()
    over.set()
    thread.join(45)
    assert "of-a-client" not in running_threads()


def preload(tmp_path: Path, source: str) -> str:
    """What the fork server's preload logs with a module of handlers like this."""
    (tmp_path / "shop_handlers.py").write_text(source)
    ended = subprocess.run(
        [sys.executable, "-c", "import jobs.worker.preload, os; os._exit(0)"],
        cwd=BASE_DIR,
        env={**os.environ, "PYTHONPATH": os.pathsep.join((str(BASE_DIR), str(tmp_path))), "LOG_FORMAT": "json",
             "HANDLER_MODULES": "shop_handlers"},
        capture_output=True,
        text=True,
        timeout=110,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    return ended.stderr


def test_the_preload_warns_of_both(tmp_path: Path) -> None:
    said = preload(
        tmp_path,
        "import socket, threading\n"
        "server = socket.create_server(('127.0.0.1', 0))\n"
        "client = socket.create_connection(server.getsockname())\n"
        "threading.Thread(target=threading.Event().wait, args=(60,), name='of-a-client', daemon=True).start()\n",
    )
    for words in ("handlers_opened_at_import", "AF_INET SOCK_STREAM 127.0.0.1", "of-a-client"):
        assert words in said


def test_the_preload_says_nothing_of_a_clean_import(tmp_path: Path) -> None:
    assert "handlers_opened_at_import" not in preload(tmp_path, "")
