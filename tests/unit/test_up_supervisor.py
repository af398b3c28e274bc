"""The supervisor, with shells as its children."""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import psutil
import pytest

from queuesite.foundation.output import PrefixedOutput
from queuesite.foundation.processes import ending, group_members, spawn, stop, wait_gone
from queuesite.local.supervisor import Child, ChildSpec, Restart, Supervisor
from tests.support.living import gone
from tests.support.processes import ROOT
from tests.support.waiting import eventually

#: Longer than any of these children needs, on a busy machine.
LONG = 45.0


class Screen(io.StringIO):
    """What a person would see."""

    @property
    def lines(self) -> list[str]:
        return [line.replace(" |", ":", 1) for line in self.getvalue().splitlines()]

    def shows(self, text: str) -> Callable[[], bool]:
        return lambda: any(text in line for line in self.lines)


@pytest.fixture
def screen() -> Screen:
    return Screen()


@pytest.fixture
def supervisor(screen: Screen) -> Supervisor:
    return Supervisor(PrefixedOutput(screen, width=0), "up")


def shell(
    name: str,
    script: str,
    *,
    stop_seconds: float = LONG,
    restart: Restart = "always",
    essential: bool = False,
    patience: int = 2,
) -> ChildSpec:
    start = partial(spawn, ["sh", "-c", script], env=os.environ, output=subprocess.PIPE)
    return ChildSpec(name, start, stop_seconds, restart, essential, patience)


def waits(name: str, *, on_term: str = "echo bye; exit 0", **kwargs: float) -> ChildSpec:
    """A child that says `up`, and `on_term` when it is told to end."""
    return shell(name, f"trap '{on_term}' TERM; echo up; while :; do sleep 0.05; done", **kwargs)  # type: ignore[arg-type]


def until(supervisor: Supervisor, condition: Callable[[], bool]) -> None:
    assert supervisor.wait_until(condition, seconds=LONG)


def pid_of(child: Child) -> int:
    assert child.process is not None
    return child.process.pid


def test_output_is_shown_behind_names(supervisor: Supervisor, screen: Screen) -> None:
    with supervisor:
        assert supervisor.run_step(shell("step", "echo out; echo err >&2; printf unfinished", restart="never")) == 0
    assert screen.lines == ["step: out", "step: err", "step: unfinished"]


def test_a_steps_exit_code_is_answered(supervisor: Supervisor) -> None:
    with supervisor:
        assert supervisor.run_step(shell("step", "exit 3", restart="never")) == 3


def test_what_is_awaited_is_said_from_time_to_time(
    supervisor: Supervisor, screen: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("queuesite.local.supervisor.REPORT_SECONDS", 0.0)
    with supervisor:
        assert supervisor.wait_until(lambda: len(screen.lines) > 1, seconds=LONG, what="counting")
        supervisor.start(waits("deaf", on_term="echo no", stop_seconds=1.0))
        until(supervisor, screen.shows("deaf: up"))

    assert all(re.fullmatch(r"up: still counting after \d+ s", line) for line in screen.lines[:2])
    waiting = re.compile(r"up: waiting for deaf to end, [01] of 1 s; another signal kills them at once")
    assert any(map(waiting.fullmatch, screen.lines))


def test_a_screen_stands_before_each_process(supervisor: Supervisor, screen: Screen) -> None:
    def once() -> Callable[[str], str | None]:
        first = iter([True])
        return lambda line: f"{line} and so on" if next(first, False) else None

    with supervisor:
        child = replace(shell("server", "echo full; echo panic; printf panic"), screen=once)
        supervisor.start(child)
        until(supervisor, lambda: screen.lines.count("server: full and so on") == 2)

    assert not screen.shows("panic")()


def test_a_child_that_ends_is_restarted_ever_later(supervisor: Supervisor, screen: Screen) -> None:
    with supervisor:
        supervisor.start(shell("bad", "exit 3"))
        until(supervisor, screen.shows("restarting in 2 s"))
    ended = [line.split(" ended ")[1] for line in screen.lines if " ended " in line]
    assert ended == [f"with exit code 3; restarting in {delay} s" for delay in ("0.5", "1", "2")]


def test_a_killed_child_is_restarted_with_the_signal_named(supervisor: Supervisor, screen: Screen) -> None:
    with supervisor:
        (child,) = supervisor.start(waits("web"))
        first = pid_of(child)
        until(supervisor, screen.shows("web: up"))
        os.kill(first, signal.SIGKILL)
        until(supervisor, lambda: child.process is not None and child.process.pid != first)
    assert f"up: web (process {first}) was killed by SIGKILL; restarting in 0.5 s" in screen.lines
    assert "up: starting web" in screen.lines


@pytest.mark.parametrize(
    ("restart", "code", "restarted"),
    [("always", 0, True), ("on-failure", 0, False), ("on-failure", 1, True), ("never", 1, False)],
)
def test_whether_a_child_is_restarted(
    supervisor: Supervisor, screen: Screen, restart: Restart, code: int, restarted: bool
) -> None:
    with supervisor:
        (child,) = supervisor.start(shell("it", f"exit {code}", restart=restart))
        until(supervisor, lambda: not child.running)
        assert (child.restart_at is not None) == restarted


def test_nothing_is_restarted_while_an_essential_child_is_down(supervisor: Supervisor, screen: Screen) -> None:
    with supervisor:
        (server,) = supervisor.start(waits("server", essential=True))
        (client,) = supervisor.start(waits("client"))
        until(supervisor, lambda: screen.lines.count("server: up") + screen.lines.count("client: up") == 2)
        server.delay = 1.5  # so that the client is due first
        victims = [psutil.Process(pid_of(child)) for child in (client, server)]
        for victim in victims:
            victim.kill()
        eventually(lambda: gone(victims), LONG, "both have died before anybody looks")
        until(supervisor, lambda: screen.lines.count("client: up") == 2)
    starts = [line for line in screen.lines if line.startswith("up: starting")]
    assert starts == ["up: starting server", "up: starting client"]


def test_a_start_that_fails_is_repeated(supervisor: Supervisor, screen: Screen) -> None:
    attempts = 0

    def sometimes() -> subprocess.Popen[bytes]:
        nonlocal attempts
        attempts += 1
        if attempts == 2:
            raise OSError("no more processes")
        return spawn(["sh", "-c", "exit 1"], env=os.environ, output=subprocess.PIPE)

    with supervisor:
        supervisor.start(ChildSpec("it", sometimes, LONG))
        until(supervisor, lambda: attempts == 3)
    assert "up: it cannot be started: no more processes; restarting in 1 s" in screen.lines


def test_the_first_start_that_fails_ends_all(supervisor: Supervisor, screen: Screen) -> None:
    absent = ChildSpec("second", partial(spawn, ["/nonexistent"], env={}, output=subprocess.PIPE), LONG)

    def start_both() -> None:
        with supervisor:
            supervisor.start(waits("first"))
            supervisor.start(absent)

    with pytest.raises(FileNotFoundError):
        start_both()
    assert "up: stopping first" in screen.lines


def test_children_are_stopped_in_reverse_order(supervisor: Supervisor, screen: Screen) -> None:
    with supervisor:
        supervisor.start(waits("server"))
        supervisor.start(waits("worker-1"), waits("worker-2"))
        supervisor.start(waits("web"))
        until(supervisor, lambda: sum(line.endswith(": up") for line in screen.lines) == 4)
        os.kill(os.getpid(), signal.SIGTERM)
        supervisor.watch()
        pytest.fail("the signal was not seen")
    assert [line for line in screen.lines if not line.endswith(": up")][:2] == ["up: stopping web", "web: bye"]
    assert screen.lines[-2:] == ["up: stopping server", "server: bye"]
    assert "up: stopping worker-1, worker-2" in screen.lines
    assert {"worker-1: bye", "worker-2: bye"} < set(screen.lines)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_ask_to_stop_and_are_given_back(supervisor: Supervisor, number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with supervisor:
        os.kill(os.getpid(), number)
        supervisor.watch()
    assert signal.getsignal(number) is before


def test_a_child_that_does_not_end_is_killed(supervisor: Supervisor, screen: Screen) -> None:
    with supervisor:
        (child,) = supervisor.start(waits("deaf", on_term="echo no", stop_seconds=0.5))
        until(supervisor, screen.shows("deaf: up"))
    assert "up: deaf did not end within 0.5 s: killing it" in screen.lines
    assert child.returncode == -signal.SIGKILL


def test_a_second_signal_kills_except_the_patient(supervisor: Supervisor, screen: Screen) -> None:
    with supervisor:
        # Each signal arrives while the one before is being dealt with.
        supervisor.start(waits("server", on_term="sleep 0.3; echo saved; exit 0", patience=3))
        supervisor.start(waits("deaf", on_term=f"kill -INT {os.getpid()}"))
        until(supervisor, lambda: sum(line.endswith(": up") for line in screen.lines) == 2)
        os.kill(os.getpid(), signal.SIGINT)
        supervisor.watch()
    assert "up: deaf must end at once: killing it" in screen.lines
    assert screen.lines[-1] == "server: saved"


def test_what_a_killed_child_leaves_behind_is_ended_before_it_is_restarted(
    supervisor: Supervisor, screen: Screen
) -> None:
    with supervisor:
        (child,) = supervisor.start(shell("tree", "sleep 1000 & echo started; wait"))
        until(supervisor, screen.shows("tree: started"))
        leader = pid_of(child)
        orphans = [p for p in group_members(leader) if p.pid != leader]
        assert orphans
        os.kill(leader, signal.SIGKILL)
        until(supervisor, lambda: screen.lines.count("tree: started") == 2)
        assert not group_members(leader)
    assert all(wait_gone(orphan, LONG) for orphan in orphans)


def test_all_is_stopped_when_nobody_reads_the_output_any_more(screen: Screen) -> None:
    class Closed(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    with Supervisor(PrefixedOutput(Closed(), width=0), "up") as supervisor:
        supervisor.start(waits("it"))
        supervisor.watch()


def test_a_wait_has_an_end(supervisor: Supervisor) -> None:
    with supervisor:
        assert not supervisor.wait_until(lambda: False, seconds=0.1)


# --- processes ---


@pytest.mark.skipif(sys.platform != "linux", reason="other kernels do not tell a child of its parent's death")
def test_a_child_dies_with_its_killed_parent() -> None:
    script = (
        "import os, subprocess, sys, time\n"
        "from queuesite.foundation.processes import spawn\n"
        "child = spawn(['sleep', '1000'], env=os.environ, output=subprocess.DEVNULL)\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(1000)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        assert child.is_running()
        parent.kill()
    eventually(lambda: gone([child]), LONG, "the child ends")


def test_a_child_leads_a_session_of_its_own() -> None:
    process = spawn(["sleep", "1000"], env=os.environ, output=subprocess.DEVNULL)
    try:
        assert os.getsid(process.pid) == process.pid
    finally:
        assert stop(process, LONG) == -signal.SIGTERM


def test_a_process_that_ignores_sigterm_is_killed() -> None:
    process = spawn(["sh", "-c", "trap '' TERM; echo; sleep 1000"], env=os.environ, output=subprocess.PIPE)
    assert process.stdout is not None
    with process.stdout as ready:
        ready.readline()
        assert stop(process, 0.2) == -signal.SIGKILL
    eventually(lambda: not group_members(process.pid), LONG, "its own child ends too")


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (0, "ended with exit code 0"),
        (-9, "was killed by SIGKILL"),
        (-40, "was killed by signal 40"),
    ],
)
def test_how_a_process_ended_in_words(code: int, words: str) -> None:
    assert ending(code) == words
