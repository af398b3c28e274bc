"""The consumer process: waits for runs, carries them out one after another, and reports through a pipe to its worker.

When its worker has died it reads the pipe's end, gives back what it has not begun, and is gone within
`ORPHAN_SECONDS`.
"""

from __future__ import annotations

import os
import signal
import threading
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing import forkserver
from typing import Any

from jobs.consumer.growth import Growth
from jobs.consumer.handler_loop import get_handler_loop
from jobs.consumer.held import Batch
from jobs.consumer.in_hand import Board
from jobs.consumer.news import News
from jobs.consumer.outcome import describe
from jobs.consumer.report import RunReport
from jobs.consumer.run import Run
from jobs.consumer.settings import QueueSettings, RunLimits
from jobs.models import EndReason
from queues import following
from queues.handlers import middleware
from queues.handlers.middleware import MiddlewareError
from queues.sending.wakeups import wake_ups
from queues.sqs import begin_with
from queues.sqs.express.endpoint import Prepared
from queues.sqs.regions import gateway_in
from queues.task_reports import reports
from queuesite.foundation.errors import QueuesiteError
from queuesite.foundation.logs import bind, get_logger
from queuesite.foundation.pipes import Endpoint
from queuesite.foundation.processes import die_with_parent
from queuesite.foundation.threads import supervised

log = get_logger(__name__)

#: How long a consumer whose worker is gone may take to give back what it holds, in seconds.
ORPHAN_SECONDS = 1.5
#: How long a run works at least before its process is recycled, in seconds: if what a handler imports at its first
#: message is larger than the limit, each new process exceeds it at once, and would do nothing but start.
RECYCLE_AFTER_SECONDS = 10.0


@dataclass(frozen=True)
class Start:
    """Worker to consumer: begin a run, with what a listener has received for it."""

    job_id: str
    settings: QueueSettings
    first: tuple[Batch, ...] = ()


@dataclass(frozen=True)
class Give:
    """Worker to consumer: a listener has received this for the run."""

    job_id: str
    batch: Batch


@dataclass(frozen=True)
class Declined:
    """Consumer to worker: the run has ended, or is to end, and does not take this."""

    job_id: str
    batch: Batch


@dataclass(frozen=True)
class Apply:
    """Worker to consumer: the queue's settings have changed."""

    settings: QueueSettings


@dataclass(frozen=True)
class End:
    """Worker to consumer: end the run, for this reason."""

    reason: EndReason


@dataclass(frozen=True)
class Exit:
    """Worker to consumer: end the process; no run is under way."""


@dataclass(frozen=True)
class Live:
    """Consumer to worker: counts so far of the run, and the process's memory in bytes."""

    job_id: str
    counts: dict[str, Any]
    memory: int
    news: News


@dataclass(frozen=True)
class Finishing:
    """Consumer to worker: only the run's handlers in flight are left. `report` is of the run so far."""

    job_id: str
    report: RunReport
    memory: int
    news: News


@dataclass(frozen=True)
class Finished:
    """Consumer to worker: the run has ended."""

    job_id: str
    report: RunReport
    memory: int
    news: News
    #: The process has grown past its limit, and is to be replaced.
    outgrown: bool


def main(
    connection: Endpoint,
    worker_id: str,
    limits: RunLimits,
    live_seconds: float,
    board: Board,
    prepared: Prepared | None,
) -> None:
    """What a consumer process does; the target of the pool's processes.

    `board` is where the worker reads what was in hand if this process dies.
    `prepared` is what the worker has found out of SQS; None: this process is to find it out.
    """
    # A terminal's Ctrl-C reaches the whole group of processes: when to end is the worker's to say. Not SIG_IGN, which
    # the programs that a handler starts would inherit: they could not be terminated.
    signal.signal(signal.SIGINT, take_no_notice)
    signal.signal(signal.SIGTERM, take_no_notice)
    # If a handler holds the interpreter, nobody reads the end of the pipe. Then the kernel ends this process when
    # the fork server, its parent, has died after the worker (see `jobs.worker.preload`).
    die_with_parent(signal.SIGKILL)
    let_fork_server_end()
    # A child that a handler forks must not speak for this process, nor keep the pipe open when this one is gone.
    os.register_at_fork(after_in_child=connection.close)
    wake_ups.hand_over()
    bind(worker=worker_id, consumer_pid=os.getpid())
    begin_with(prepared)
    reports.worker = f"consumer-{os.getpid()}"
    Consumer(connection, limits, live_seconds, board).serve()
    with suppress(MiddlewareError):  # no run began with it
        middleware.close()


def let_fork_server_end() -> None:
    """Give up this process's share in the fork server's life, which multiprocessing hands to every child.

    With it the fork server would outlive its worker for as long as any consumer lives, and the consumers with it.
    """
    server: Any = forkserver._forkserver
    alive, server._forkserver_alive_fd = server._forkserver_alive_fd, None
    if alive is not None:
        os.close(alive)


def take_no_notice(number: int, frame: object) -> None:
    """A handler for signals that a process ignores; unlike SIG_IGN, its child programs do not inherit it."""


class Consumer:
    """The process's two sides: `serve` runs queues, a thread of its own reads the pipe and sends live counts."""

    def __init__(
        self, connection: Endpoint, limits: RunLimits, live_seconds: float, board: Board | None = None
    ) -> None:
        self._connection = connection
        self._limits = limits
        self._board = board
        self._live_seconds = live_seconds
        #: Held while news is taken and sent: it is reported once, and never after its run's end.
        self._reporting = threading.Lock()
        self._sending = threading.Lock()
        self._state = threading.Condition()
        self._next: Start | None = None
        #: Orders for a run that is only being made.
        self._early: list[End | Apply | Give] = []
        #: What is being begun: its run is not made yet.
        self._starting: Start | None = None
        self._run: Run | None = None
        self._job_id: str | None = None
        self._exiting = False
        self._growth = Growth(limits.memory_mb)
        reports.urgent = self._report_live

    def serve(self) -> None:
        """Run what the worker asks for, until it sends `Exit` or is gone."""
        supervised("pipe", self._listen).start()
        while True:
            with self._state:
                while self._next is None and not self._exiting:
                    self._state.wait()
                if self._next is None:
                    return
                start, self._next = self._next, None
                self._starting = start
            report = self._carry_out(start)
            with self._reporting:
                with self._state:
                    run, self._run, self._job_id = self._run, None, None
                memory = self._growth.memory()
                self._send(Finished(start.job_id, report, memory, _news(run), self._growth.too_large(memory)))

    def _carry_out(self, start: Start) -> RunReport:
        bind(queue=start.settings.name, job_id=start.job_id)
        try:
            settings = start.settings
            gateway = gateway_in(settings.region)
            # Of a queue of ours nobody else changes what SQS holds.
            read_held = None if settings.managed else partial(following.read, gateway, settings.queue_url)
            run = Run(gateway, settings, self._limits, get_handler_loop(), read_held, board=self._board)
        except QueuesiteError as error:
            self._decline_all(start)
            return RunReport(EndReason.ERROR, last_error=str(error))
        except Exception as error:
            # A handler's options model may raise anything; what else it has left behind is not known.
            log.exception("run_not_made")
            self._decline_all(start)
            return RunReport(EndReason.ERROR, last_error=describe(error), tainted=True)
        with self._state:
            self._run, self._job_id, self._starting = run, start.job_id, None
            if self._exiting:
                run.end(EndReason.SHUTDOWN)
            # Within the lock: what comes meanwhile is carried out after these.
            early, self._early = self._early, []
            for order in early:
                self._carry_out_order(run, order)
        return run.execute(lambda so_far: self._report_finishing(run, start.job_id, so_far), start.first)

    def _decline_all(self, start: Start) -> None:
        """The run was not made: what a listener has received for it goes back to its worker."""
        with self._state:
            self._starting = None
            given = [order.batch for order in self._early if isinstance(order, Give)]
            self._early.clear()
        for batch in (*start.first, *given):
            self._send(Declined(start.job_id, batch))

    def _listen(self) -> None:
        try:
            while True:
                if self._connection.poll(self._live_seconds):
                    self._obey(self._connection.recv())
                else:
                    self._report_live()
        except (EOFError, OSError):
            if not self._exiting:
                self._orphaned()

    def _obey(self, order: object) -> None:
        with self._state:
            run = self._run
            if isinstance(order, Start):
                self._next = order
                self._early.clear()  # these came after the end of the run before
            elif isinstance(order, Exit):
                self._exiting = True
            elif isinstance(order, Give) and order.job_id != self._job_id:
                coming = self._next or self._starting
                if coming is None or coming.job_id != order.job_id:
                    self._send(Declined(order.job_id, order.batch))  # its run has ended
                else:
                    self._early.append(order)
                return
            elif run is None and isinstance(order, End | Apply):
                self._early.append(order)
            self._state.notify_all()
        if run is not None and isinstance(order, End | Apply | Give):
            self._carry_out_order(run, order)

    def _report_live(self) -> None:
        with self._reporting:
            with self._state:
                run, job_id = self._run, self._job_id
            if run is None or job_id is None:
                return
            memory = self._growth.memory()
            self._send(Live(job_id, {**run.live(), **run.ages()}, memory, _news(run)))
        if self._growth.too_large(memory) and run.has_worked(RECYCLE_AFTER_SECONDS):
            run.end(EndReason.RECYCLED, self._growth.in_words(memory))

    def _report_finishing(self, run: Run, job_id: str, so_far: RunReport) -> None:
        with self._reporting:
            memory = self._growth.memory()
            self._send(Finishing(job_id, so_far, memory, _news(run)))

    def _send(self, message: object) -> None:
        # If it fails, the reader sees the end of the pipe too, and ends the process.
        with suppress(OSError), self._sending:
            self._connection.send(message)

    def _carry_out_order(self, run: Run, order: End | Apply | Give) -> None:
        if isinstance(order, End):
            run.end(order.reason)
        elif isinstance(order, Apply):
            run.apply(order.settings)
        elif not run.give(order.batch):
            self._send(Declined(order.job_id, order.batch))

    def _orphaned(self) -> None:
        log.warning("worker_gone", meaning="what is held is given back, and the consumer ends")
        timer = threading.Timer(ORPHAN_SECONDS, os._exit, (1,))
        timer.daemon = True
        timer.start()
        with self._state:
            run = self._run
            self._exiting = True
            self._next = None
            self._state.notify_all()
        if run is not None:
            run.end(EndReason.SHUTDOWN)


def _news(run: Run | None) -> News:
    """Take what has come up since the last report. None: the run was not made."""
    tasks, sent_to = reports.take(), wake_ups.take()
    if run is None:
        return News(tasks=tasks, sent_to=sent_to)
    return News(run.recorder.take(), run.meter.news(), run.followed(), tasks, sent_to, *run.attempts.take())
