"""Runs child processes in the foreground: shows their output, restarts those that end, stops all of them in order.

honcho, which is similar, ends everything when one child ends, and supervisord is a daemon with a configuration and a
control socket of its own. Neither stops its children in an order or waits for one before it starts the next.

One thread does everything, on purpose: children get SIGTERM when the thread that started them ends (see `processes`),
and no lock is held across a fork. Every wait is in `_pump`, which reads output, reaps, restarts and handles signals.
"""

from __future__ import annotations

import os
import selectors
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from types import FrameType, TracebackType
from typing import Literal, Self

from queuesite.foundation.errors import QueuesiteError
from queuesite.foundation.output import LineBuffer, PrefixedOutput
from queuesite.foundation.processes import ending, group_members, signal_all

#: Delay of the first restart in seconds; it doubles with every further restart.
FIRST_DELAY = 0.5
LONGEST_DELAY = 30.0
#: After a child has run this long, its delay starts again at FIRST_DELAY.
STABLE_AFTER = 60.0
#: Processes that a killed child leaves behind get SIGTERM, and SIGKILL this many seconds later.
LEFTOVER_SECONDS = 5.0
#: Seconds between two lines that say what the supervisor waits for.
REPORT_SECONDS = 4.0

_TICK = 0.25
Restart = Literal["always", "on-failure", "never"]

_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopRequested(Exception):
    """A signal asked to stop. It leaves the `with` block of the supervisor, which stops the children."""


@dataclass(frozen=True)
class ChildSpec:
    """How a child is started and stopped.

    `spawn` starts it, with a pipe as its output. It has `stop_seconds` to end after SIGTERM. `restart` is `always`,
    `on-failure` (exit code 0 is final) or `never`. While an `essential` child is down, no child that was started after
    it is restarted. `patience` is the number of stop signals at which it is killed. For each process, `screen` returns
    a function that maps a line of its output to the line to show, or to None.
    """

    name: str
    spawn: Callable[[], subprocess.Popen[bytes]]
    stop_seconds: float
    restart: Restart = "always"
    essential: bool = False
    patience: int = 2
    screen: Callable[[], Callable[[str], str | None]] = lambda: str


@dataclass(eq=False)
class Child:
    """A child under supervision, running or not."""

    spec: ChildSpec
    process: subprocess.Popen[bytes] | None = None
    returncode: int | None = None
    started_at: float = 0.0
    delay: float = FIRST_DELAY
    restart_at: float | None = None
    kill_from: float | None = None
    #: When it was asked to end for good.
    retired_at: float | None = None
    pipe: int | None = None
    lines: LineBuffer = field(default_factory=LineBuffer)
    screen: Callable[[str], str | None] = str

    @property
    def running(self) -> bool:
        """Whether its process, or one that it left behind, runs."""
        return self.process is not None


class Supervisor:
    """Starts children in groups and stops the groups in reverse order at the end of its `with` block.

    The first signal (SIGINT, SIGTERM, SIGHUP) stops them in order; the second kills them, except those with more
    `patience`. Use it only in the main thread.
    """

    def __init__(self, output: PrefixedOutput, name: str) -> None:
        self._output = output
        self._name = name
        self._groups: list[list[Child]] = []
        self._selector = selectors.DefaultSelector()
        self._signals = 0
        self._stopping = False
        self._old_handlers: dict[signal.Signals, object] = {}

    def __enter__(self) -> Self:
        self._wake_reader, self._wake_writer = socket.socketpair()
        for end in (self._wake_reader, self._wake_writer):
            end.setblocking(False)
        self._selector.register(self._wake_reader, selectors.EVENT_READ)
        signal.set_wakeup_fd(self._wake_writer.fileno(), warn_on_full_buffer=False)
        for number in _STOP_SIGNALS:
            self._old_handlers[number] = signal.signal(number, self._on_stop_signal)
        self._old_handlers[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda *_: None)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        try:
            self._stop()
        finally:
            signal.set_wakeup_fd(-1)
            for number, handler in self._old_handlers.items():
                signal.signal(number, handler)  # type: ignore[arg-type]
            self._selector.close()
            self._wake_reader.close()
            self._wake_writer.close()
        return kind is not None and issubclass(kind, StopRequested)

    def say(self, text: str) -> None:
        """Write a line under the supervisor's own name."""
        self._output.write(self._name, text)

    def start(self, *specs: ChildSpec) -> list[Child]:
        """Start children that are stopped together. Raises the errors of their `spawn`."""
        group: list[Child] = []
        self._groups.append(group)
        for spec in specs:
            child = Child(spec)
            self._spawn(child)
            group.append(child)
        return list(group)

    def join(self, other: Child, spec: ChildSpec) -> Child:
        """Start a child that is stopped together with `other`. Raises the errors of its `spawn`."""
        child = Child(spec)
        self._spawn(child)
        self._group_of(other).append(child)
        return child

    def retire(self, child: Child) -> None:
        """Have a child end, and not be started again. It is killed if it takes longer than its `stop_seconds`."""
        if child.process is None:
            self._group_of(child).remove(child)
        elif child.retired_at is None:
            child.retired_at = time.monotonic()
            child.process.terminate()

    def _group_of(self, child: Child) -> list[Child]:
        return next(group for group in self._groups if child in group)

    def run_step(self, spec: ChildSpec, what: str = "") -> int:
        """Run a child to its end while the others continue, and return its exit code. Raises `StopRequested`."""
        (child,) = self.start(spec)
        self.wait_until(lambda: child.returncode is not None and not child.running, what=what)
        assert child.returncode is not None
        return child.returncode

    def wait_until(self, condition: Callable[[], bool], *, seconds: float | None = None, what: str = "") -> bool:
        """Wait for a condition, at most `seconds`, and return whether it came true.

        `what` says what the supervisor is doing; it is printed every few seconds. Raises `StopRequested` and the
        condition's own errors.
        """
        began = time.monotonic()
        next_report = began + REPORT_SECONDS
        while not condition():
            now = time.monotonic()
            if seconds is not None and now >= began + seconds:
                return False
            if what and now >= next_report:
                self.say(f"still {what} after {now - began:.0f} s")
                next_report = now + REPORT_SECONDS
            self._pump()
        return True

    def watch(self) -> None:
        """Keep the children running until a signal asks to stop, which raises `StopRequested`."""
        self.wait_until(lambda: False)

    @property
    def children(self) -> list[Child]:
        """All children, in the order in which they were started."""
        return [child for group in self._groups for child in group]

    def _on_stop_signal(self, number: int, frame: FrameType | None) -> None:
        self._signals += 1

    def _pump(self, timeout: float = _TICK) -> None:
        for key, _ in self._selector.select(timeout):
            if key.data is None:
                self._wake_reader.recv(4_096)
            else:
                self._read(key.data)
        for child in self.children:
            if child.process is not None and child.process.poll() is not None:
                self._ended(child, child.process)
            elif child.process is not None and child.retired_at is not None and not self._stopping:
                self._kill_if_due(child, child.process, time.monotonic() - child.retired_at)
        if self._output.broken and not self._signals:
            self._signals = 1  # the reader of our output has left
        if self._signals and not self._stopping:
            raise StopRequested
        if not self._stopping:
            self._restart_due()

    def _read(self, child: Child) -> bool:
        """Show the output that waits in a child's pipe, and return whether there may be more."""
        assert child.pipe is not None
        try:
            data = os.read(child.pipe, 65_536)
        except BlockingIOError:
            return False
        self._show(child, child.lines.feed(data))
        if not data:
            self._close_pipe(child)
        return bool(data)

    def _show(self, child: Child, lines: Iterable[str]) -> None:
        for line in lines:
            if (shown := child.screen(line)) is not None:
                self._output.write(child.spec.name, shown)

    def _close_pipe(self, child: Child) -> None:
        if child.pipe is not None:
            self._show(child, child.lines.end())
            self._selector.unregister(child.pipe)
            os.close(child.pipe)
            child.pipe = None

    def _spawn(self, child: Child) -> None:
        child.returncode = child.restart_at = child.kill_from = None
        child.screen = child.spec.screen()
        process = child.spec.spawn()
        assert process.stdout is not None
        child.pipe = os.dup(process.stdout.fileno())  # not closed when the Popen is collected
        process.stdout.close()
        os.set_blocking(child.pipe, False)
        child.process, child.started_at = process, time.monotonic()
        self._selector.register(child.pipe, selectors.EVENT_READ, child)

    def _ended(self, child: Child, process: subprocess.Popen[bytes]) -> None:
        """A child's process has ended. Once its process group is empty, the child is down and may be restarted."""
        now = time.monotonic()
        child.returncode = process.returncode
        if left := group_members(process.pid):
            if child.kill_from is None:
                child.kill_from = now + LEFTOVER_SECONDS
                signal_all(left, signal.SIGTERM)
            elif now >= child.kill_from:
                signal_all(left, signal.SIGKILL)
            return
        while child.pipe is not None and self._read(child):
            pass
        self._close_pipe(child)
        child.process = None
        if self._stopping:
            return
        if child.retired_at is not None:
            self._group_of(child).remove(child)
            return
        self._plan_restart(child, f"{child.spec.name} (process {process.pid}) {ending(process.returncode)}")

    def _plan_restart(self, child: Child, what: str) -> None:
        now = time.monotonic()
        if (child.returncode == 0 and child.spec.restart == "on-failure") or child.spec.restart == "never":
            return
        if now - child.started_at >= STABLE_AFTER:
            child.delay = FIRST_DELAY
        self.say(f"{what}; restarting in {child.delay:g} s")
        child.restart_at = now + child.delay
        child.delay = min(child.delay * 2, LONGEST_DELAY)

    def _restart_due(self) -> None:
        now = time.monotonic()
        for child in self.children:
            if child.restart_at is not None and now >= child.restart_at:
                self.say(f"starting {child.spec.name}")
                try:
                    self._spawn(child)
                except (OSError, QueuesiteError) as error:
                    child.started_at = now
                    self._plan_restart(child, f"{child.spec.name} cannot be started: {error}")
            if child.spec.essential and not child.running:
                return

    def _stop(self) -> None:
        self._stopping = True
        while self._groups:
            group = self._groups[-1]
            self._stop_group([child for child in group if child.process is not None])
            self._groups.pop()

    def _stop_group(self, group: Sequence[Child]) -> None:
        if not group:
            return
        began = time.monotonic()
        # A step runs under our own name, which means nothing to the reader.
        names = ", ".join(child.spec.name for child in group if child.spec.name != self._name)
        if names:
            self.say(f"stopping {names}")
        for child in group:
            if child.process is not None:
                child.process.terminate()
        next_report = REPORT_SECONDS
        while any(child.running for child in group):
            elapsed = time.monotonic() - began
            if names and elapsed >= next_report:
                limit = max(child.spec.stop_seconds for child in group)
                self.say(f"waiting for {names} to end, {elapsed:.0f} of {limit:g} s; another signal kills them at once")
                next_report = elapsed + REPORT_SECONDS
            for child in group:
                if child.process is not None:
                    self._kill_if_due(child, child.process, elapsed)
            self._pump()

    def _kill_if_due(self, child: Child, process: subprocess.Popen[bytes], elapsed: float) -> None:
        late = elapsed >= child.spec.stop_seconds
        if not late and self._signals < child.spec.patience:
            return
        if child.returncode is None and child.kill_from is None:
            reason = f"did not end within {child.spec.stop_seconds:g} s" if late else "must end at once"
            self.say(f"{child.spec.name} {reason}: killing it")
            child.kill_from = time.monotonic()
        signal_all(group_members(process.pid), signal.SIGKILL)
