"""The pool of consumer processes: forked on demand, reused, replaced, and never outliving their worker.

Nothing here waits for a consumer: the pipes do not block, and consumers that are to end are watched until they have.
A worker that cannot start processes says so, and tries again in a thread until it can.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from typing import Any

from bson import ObjectId

from jobs.consumer.held import Batch
from jobs.consumer.in_hand import Board
from jobs.consumer.news import News
from jobs.consumer.process import Declined, Finished, Finishing, Live
from jobs.consumer.process import main as consumer_main
from jobs.consumer.report import RunReport
from jobs.consumer.settings import RunLimits
from jobs.worker import crash, fork_server
from jobs.worker.access import Access
from jobs.worker.consumer import ConsumerProcess
from jobs.worker.silence import OwnPauses
from queues.sending.wakeups import wake_ups
from queuesite.foundation import pipes
from queuesite.foundation.config import Config
from queuesite.foundation.errors import ServerError
from queuesite.foundation.logs import get_logger
from queuesite.foundation.outage import Outage
from queuesite.foundation.threads import supervised

log = get_logger(__name__)

#: Seconds that a consumer gets to end once it is asked to: a thread that a handler left behind may keep it.
EXIT_SECONDS = 10.0
DEAD = "the fork server has died"


class CannotStart(ServerError):
    """A consumer process cannot be started at the moment."""


class Pool:
    """Consumer processes of one worker: those at work, idle ones that wait to be used again, and those that leave."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._limits = RunLimits.of(config)
        self._access = Access(config)
        #: The worker's present id, for the logs of its consumers.
        self.worker_id = ""
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["jobs.worker.preload"])
        self.consumers: list[ConsumerProcess] = []
        #: Asked to end, or killed, and not gone yet.
        self._leaving: list[ConsumerProcess] = []
        #: What the consumers reported of their work, and which runs only finish, since it was last taken.
        self._news: list[tuple[ObjectId, News]] = []
        self._finishing: list[tuple[ObjectId, RunReport]] = []
        #: What they were given too late.
        self._declined: list[Batch] = []
        self._pauses = OwnPauses(time.monotonic())
        self._closing = threading.Event()
        self._recovery: threading.Thread | None = None
        #: Why no consumer can be started at the moment; None if one can.
        self.trouble: str | None = None

    def begin(self) -> None:
        """Start the fork server without waiting for its imports, which take it most of a second."""
        fork_server.ensure_running()

    def warm_up(self) -> None:
        """Have a first consumer, so that the first assignment does not wait for the fork server's imports."""
        self.begin()
        try:
            self.consumers.append(self._forked())
        except (OSError, EOFError) as error:
            self._recover(error)

    def obtain(self) -> ConsumerProcess:
        """An idle consumer, the most used first so that others may rest; a new one if there is none.

        Raises `CannotStart`, at once while an earlier failure is being repaired.
        """
        idle = [c for c in self.consumers if c.job_id is None and not c.channel.ended and c.process.is_alive()]
        if idle:
            return max(idle, key=lambda c: c.used)
        if self.trouble is None:
            try:
                if not fork_server.is_alive():
                    raise ChildProcessError(DEAD)
                consumer = self._forked()
            except ConnectionError:  # it is dying, and still looks alive
                self._recover(ChildProcessError(DEAD))
            except (OSError, EOFError) as error:
                self._recover(error)
            else:
                self.consumers.append(consumer)
                return consumer
        raise CannotStart(f"the worker cannot start a consumer process: {self.trouble}")

    # --- what the consumers say ---

    def sources(self) -> tuple[list[Any], list[Any]]:
        """What to wait on for news of the consumers (pipes and ends of processes), and pipes that are to take more."""
        everybody = [*self.consumers, *self._leaving]
        pipes = [c.channel for c in everybody if not c.channel.ended]
        readable: list[Any] = [*pipes, *(c.process.sentinel for c in everybody)]
        return readable, [pipe for pipe in pipes if pipe.waiting]

    def ended(self) -> list[tuple[ObjectId, RunReport]]:
        """Read all that the consumers sent; returns the runs that have ended since, by their jobs' ids.

        A consumer that died could not report its run's end: the report has the counts that it last sent, and the cause.
        """
        found: list[tuple[ObjectId, RunReport]] = []
        for consumer in list(self.consumers):
            found += self._read(consumer)
            if consumer in self.consumers and not consumer.process.is_alive():
                found += self._read(consumer)  # its last words may have come between
                if consumer in self.consumers:
                    found += self._bury(consumer)
        self._see_off(time.monotonic())
        return found

    def news(self) -> list[tuple[ObjectId, News]]:
        """What the consumers reported since the last call, each with the id of its job."""
        taken, self._news = self._news, []
        return taken

    def finishing(self) -> list[tuple[ObjectId, RunReport]]:
        """The runs, by their jobs' ids, of which only handlers in flight are left since the last call.

        Their reports are of the work so far.
        """
        taken, self._finishing = self._finishing, []
        return taken

    def declined(self) -> list[Batch]:
        """What a listener had received and a consumer did not take, since the last call."""
        taken, self._declined = self._declined, []
        return taken

    def _read(self, consumer: ConsumerProcess) -> list[tuple[ObjectId, RunReport]]:
        consumer.channel.flush()
        found: list[tuple[ObjectId, RunReport]] = []
        try:
            messages: list[Live | Finishing | Finished | Declined] = consumer.channel.receive()
        except Exception as error:
            # Whatever one of them says must not end the worker of all others.
            log.exception("consumer_unreadable", pid=consumer.pid)
            consumer.channel.close()
            consumer.kill(f"what it said cannot be read: {error}")
            return []
        for message in messages:
            if isinstance(message, Declined):
                self._declined.append(message.batch)
                continue
            for queue_url in message.news.sent_to:
                wake_ups.request(queue_url)
            if consumer.job_id is None or message.job_id != str(consumer.job_id):
                continue  # of an earlier run
            consumer.memory = message.memory
            consumer.heard_at = time.monotonic()
            if message.news != News():
                self._news.append((consumer.job_id, message.news))
            if isinstance(message, Live):
                consumer.counts = message.counts
            elif isinstance(message, Finishing):
                self._finishing.append((consumer.job_id, message.report))
            else:
                found.append((consumer.job_id, message.report))
                self._give_back(consumer, tainted=message.report.tainted, outgrown=message.outgrown)
        return found

    def _bury(self, consumer: ConsumerProcess) -> list[tuple[ObjectId, RunReport]]:
        self.consumers.remove(consumer)
        if consumer.job_id is None:
            consumer.close()
            return []
        cause = consumer.cause_of_death()
        log.error("consumer_crashed", pid=consumer.pid, cause=cause, job_id=str(consumer.job_id))
        self._news.append((consumer.job_id, crash.news_of(consumer, cause)))
        report = crash.report_of(consumer, cause)
        consumer.close()
        return [(consumer.job_id, report)]

    # --- how they leave ---

    def kill_silent(self, patience: float) -> None:
        """Kill the consumers at work that have said nothing for `patience` seconds: they hang, and their queues too.

        Silence is counted while this worker itself was running: one that was frozen has heard nobody.
        """
        now = time.monotonic()
        paused = self._pauses.since(now, patience)
        for consumer in self.consumers:
            consumer.heard_at += paused
            if consumer.job_id is not None and now - consumer.heard_at > patience and consumer.killed_for is None:
                log.error("consumer_silent", pid=consumer.pid, job_id=str(consumer.job_id), seconds=patience)
                consumer.kill(f"it gave no sign of life for {patience:g} s (a handler may hold the interpreter)")

    def _give_back(self, consumer: ConsumerProcess, *, tainted: bool, outgrown: bool) -> None:
        """The consumer's run has ended: it is free again, or replaced if it is worn out or has grown too large.

        A tainted one still runs a handler, which only the end of the process ends.
        """
        consumer.job_id = None
        worn_out = consumer.used >= self._config.consumer_usage_limit
        if not (tainted or outgrown or worn_out):
            return
        self.consumers.remove(consumer)
        self._leaving.append(consumer)
        if tainted:
            consumer.kill("a handler of it did not end")
            log.warning("consumer_replaced", pid=consumer.pid, reason=consumer.killed_for)
        else:
            consumer.exit(EXIT_SECONDS)
            log.debug("consumer_retired", pid=consumer.pid, used=consumer.used, memory=consumer.memory)

    def _see_off(self, now: float) -> None:
        """Drop those that have left, and kill those that linger."""
        for consumer in list(self._leaving):
            if not consumer.process.is_alive():
                self._leaving.remove(consumer)
                consumer.close()
                continue
            consumer.channel.flush()
            consumer.channel.receive()  # nobody needs it, but an unread pipe would end every wait at once
            if now >= consumer.exit_by and consumer.killed_for is None:
                log.warning("consumer_lingers", pid=consumer.pid, seconds=EXIT_SECONDS, meaning="it is killed")
                consumer.kill("it did not end when it was asked to: a thread of a handler's may keep it")

    def close(self, timeout: float) -> None:
        """End all consumers, which are idle by now; those that have not ended after `timeout` seconds are killed."""
        self._closing.set()
        self._access.stop()
        self._access.join(timeout)
        if self._recovery is not None:
            self._recovery.join(timeout)
        everybody = [*self.consumers, *self._leaving]
        for consumer in everybody:
            consumer.exit(timeout)
        deadline = time.monotonic() + timeout
        for consumer in everybody:
            consumer.process.join(max(0.0, deadline - time.monotonic()))
            if consumer.process.is_alive():
                consumer.kill("it did not end when it was asked to")
                consumer.process.join()
            consumer.close()
        self.consumers.clear()
        self._leaving.clear()

    # --- how they are made ---

    def _forked(self) -> ConsumerProcess:
        """A new consumer. Raises `OSError`, or `EOFError` if the fork server dies meanwhile."""
        board = Board()
        try:
            process, ours = self.fork(
                "consumer", consumer_main, self.worker_id, self._limits, self._config.heartbeat_seconds / 2, board
            )
        except BaseException:
            board.close()
            raise
        board.passed()
        log.debug("consumer_started", pid=process.pid)
        return ConsumerProcess(process, ours, board)

    def fork(self, name: str, target: Callable[..., None], *arguments: object) -> tuple[BaseProcess, pipes.Channel]:
        """A new process of the fork server, and a pipe to it.

        `target` gets the pipe's other end, `arguments`, and what the worker has found out of SQS. Raises `OSError`, or
        `EOFError` if the fork server dies meanwhile.
        """
        ours, theirs = pipes.pair()
        process = self._context.Process(
            target=target,
            args=(theirs, *arguments, self._access.prepared()),
            name=name,
            # Not daemonic: a handler may start processes of its own. `close` and the pipe see to their end.
            daemon=False,
        )
        try:
            process.start()
            pid = process.pid or 0
            if pid < 0:  # see `fork_server.survive_failed_forks`
                process.join()
                raise OSError(-pid, os.strerror(-pid))
        except BrokenPipeError:  # the fork failed too, and its end of the pipe was closed first
            ours.close()
            raise OSError("the fork server could not fork, and has logged why") from None
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        return process, ours

    def _recover(self, error: Exception) -> None:
        """Try to start a consumer, in a thread and with pauses, until one has been started."""
        self.trouble = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        if not self._closing.is_set():
            self._recovery = supervised("recovery", lambda: self._try_again(error))
            self._recovery.start()

    def _try_again(self, error: Exception) -> None:
        outage = Outage("consumer processes (fork)")
        while not self._closing.wait(outage.failed(error)):
            try:
                self.begin()
                consumer = self._forked()
            except (OSError, EOFError) as again:
                error = again
                continue
            outage.over()
            self.consumers.append(consumer)
            self.trouble = None
            if self._closing.is_set():
                consumer.kill("its worker has ended")
            return
