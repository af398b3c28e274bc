"""The client's own limit: the floor and a consumer of ours against a server that costs nothing."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Mapping
from multiprocessing.connection import Connection

from jobs.benchmark.floor import Usage
from jobs.benchmark.stub import stub
from queuesite.foundation.errors import ServerError

#: Messages of the run that warms the consumer up.
WARM_UP = 100
#: How long both may take, in seconds.
LONGEST = 900.0


def measure(messages: int, concurrency: int) -> tuple[Usage, Usage]:
    """What the same messages take the floor and us, measured one after the other.

    In a process of its own, whose configuration names the stub.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    with stub({"warm-up": WARM_UP, "floor": messages, "ours": messages}) as address:
        environment = {
            "AWS_SQS_ENDPOINT": address,
            "AWS_ACCESS_KEY_ID": "stub",
            "AWS_SECRET_ACCESS_KEY": "stub",
            "AWS_SESSION_TOKEN": "",
            # Nobody's proxy is to be measured.
            "NO_PROXY": "127.0.0.1",
        }
        process = context.Process(target=measure_here, args=(theirs, environment, messages, concurrency))
        process.start()
        theirs.close()
        try:
            if not ours.poll(LONGEST):
                raise ServerError(f"the client's limit was not measured within {LONGEST:g} s")
            found: tuple[Usage, Usage] = ours.recv()
            return found
        except EOFError:
            raise ServerError("the process that measures the client's limit ended; its error is above") from None
        finally:
            process.terminate()
            process.join()
            ours.close()


def measure_here(pipe: Connection, environment: Mapping[str, str], messages: int, concurrency: int) -> None:
    """Measure in this process; sends both usages. The target of a fresh process, in which nothing is configured."""
    os.environ.update(environment)
    import django

    django.setup()
    # These need Django, and the configuration above.
    from jobs.benchmark import consumption
    from jobs.worker.pool import Pool
    from queues.models import Queue
    from queuesite.foundation.config import get_config

    config = get_config()
    settings = {"handler": "benchmark", "concurrency": concurrency, "visibility_timeout": 120}

    def queue(name: str) -> Queue:
        return Queue(name=name, queue_url=f"{environment['AWS_SQS_ENDPOINT']}/000000000000/{name}", **settings)

    floor = consumption.measure_floor(config, queue("floor"), messages, concurrency)
    pool = Pool(config)
    try:
        pool.warm_up()
        consumption.measure_consumer(pool, queue("warm-up"), WARM_UP)
        ours = consumption.measure_consumer(pool, queue("ours"), messages)
    finally:
        pool.close(2.0)
    pipe.send((floor, ours))
