from __future__ import annotations

import os
import re
import socket

from jobs.identity import new_id


def test_a_name_tells_host_and_process_and_is_never_given_twice() -> None:
    names = {new_id() for _ in range(100)}
    assert len(names) == 100
    for name in names:
        assert re.fullmatch(rf"{re.escape(socket.gethostname())}-{os.getpid()}-[0-9a-f]{{8}}", name)
