"""The verdict on a run: were the promises kept? Pure: decides from what was written down, and asks nobody.

All times are the monotonic clock's, in seconds.
"""

from __future__ import annotations

import itertools
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from tests.support.ledger import Event, Sent, key_of

#: A message may have been received so long before its handling began: what a consumer holds back is a second of work.
HELD_BACK = 5.0
#: A message that was handled is deleted within so long: the batch's linger, and a few tries of a machine that is busy.
DELETED = 3.0
#: How many of one kind of problem are told.
TOLD = 5


@dataclass(frozen=True)
class Fault:
    """Something that was done to the system from `began` to `ended`.

    `repeats`: it may have messages handled twice, those of the consumers `pids` (their own pids or their workers'), or
    of all consumers where that is None.
    """

    kind: str
    began: float
    ended: float
    repeats: bool = False
    pids: frozenset[int] | None = None
    what: str = ""


@dataclass(frozen=True)
class Ending:
    """How a process ended; `told` is the signal that it was sent (None: none), perhaps before it had started."""

    name: str
    code: int
    told: int | None = None
    started: bool = True


@dataclass
class Record:
    """All that was written down of a run."""

    sent: Sequence[Sent]
    events: Sequence[Event]
    dead: AbstractSet[str]
    faults: Sequence[Fault]
    #: The worker of each consumer, by pids.
    workers: Mapping[int, int] = field(default_factory=dict)
    endings: Sequence[Ending] = ()
    #: What was still there when all should have been over.
    leftovers: Sequence[str] = ()
    #: The queues whose messages have so few receives that the faults of a few seconds may use them all up.
    few_receives: AbstractSet[str] = frozenset()
    #: Assignments that a leader made after the next one had been elected.
    stale: Sequence[str] = ()


@dataclass
class Verdict:
    """What came of it. No problem: every promise was kept."""

    problems: list[str] = field(default_factory=list)
    #: The kinds of faults that explain the messages that were handled twice, with their numbers.
    repeated: dict[str, int] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)


def judge(record: Record) -> Verdict:
    """Compare what was sent with what became of it."""
    verdict = Verdict()
    _lost(record, verdict)
    _unseen(record, verdict)
    _repeats(record, verdict)
    _order(record, verdict)
    for ending in record.endings:
        if not _as_told(ending):
            verdict.problems.append(f"{ending.name} ended with {ending.code}, told {ending.told}")
    verdict.problems += [f"left over: {what}" for what in record.leftovers]
    verdict.problems += [f"stale leader: {what}" for what in record.stale]
    return verdict


def _lost(record: Record, verdict: Verdict) -> None:
    certain = {message.key for message in record.sent if message.certain}
    possible = {message.key for message in record.sent}
    instructions = {key: _instruction(event.body) for event in record.events if (key := key_of(event.body))}
    handled = {key for event in record.events if event.event == "end" and (key := key_of(event.body))}
    hopeless = {key for key, what in instructions.items() if _hopeless(what)}
    _tell(verdict, "lost", certain - handled - record.dead)
    _tell(verdict, "handled or dead, but never sent", (handled | set(record.dead)) - possible)
    _tell(verdict, "handled to success, though it never can be", hopeless & handled)
    verdict.counts |= {
        "sent": len(certain),
        "sent without an answer": len(possible - certain),
        "handled": len(handled),
        "dead letters": len(record.dead),
        "dead letters that were handled too": len(set(record.dead) & handled),
        "dead letters of faults alone": len(set(record.dead) - handled - hopeless),
        "handlings begun": sum(event.event == "start" for event in record.events),
    }


def _unseen(record: Record, verdict: Verdict) -> None:
    """No message ends as a dead letter that no handler has seen: its receives were used up by holding it.

    A fault may cost a message a receive, so that those with few receives are only counted.
    """
    begun = {key for event in record.events if event.event == "start" and (key := key_of(event.body))}
    unseen = set(record.dead) - begun
    verdict.counts["dead letters that no handler saw"] = len(unseen)
    excused = {message.key for message in record.sent if message.queue in record.few_receives}
    _tell(verdict, "dead-lettered, and no handler saw them", unseen - excused)


def _repeats(record: Record, verdict: Verdict) -> None:
    """Each message that was handled to its end more than once has a fault to explain it."""
    # What happened to one consumer explains more than what happened to all of them.
    faults = sorted([*record.faults, *self_made(record.events)], key=lambda fault: fault.pids is None)
    begun: dict[tuple[str, int, int], float] = {}
    done: defaultdict[str, list[tuple[float, float, int]]] = defaultdict(list)
    for event in record.events:
        key = key_of(event.body)
        if key is None:
            continue
        handling = (key, event.pid, event.receive_count)
        if event.event == "start":
            begun[handling] = event.at
        elif event.event == "end":
            done[key].append((begun.get(handling, event.at), event.at, event.pid))
    unexplained = []
    repeats = 0
    for key, handlings in done.items():
        for (began, ended, pid), (again, _, _) in itertools.pairwise(sorted(handlings)):
            repeats += 1
            owners = {pid, record.workers.get(pid, 0)}
            reason = next((f.kind for f in faults if _explains(f, owners, began, ended)), None)
            if reason is None:
                unexplained.append(f"{key} (begun {began:.2f} by {pid}, again {again:.2f})")
            else:
                verdict.repeated[reason] = verdict.repeated.get(reason, 0) + 1
    verdict.counts["handled twice"] = repeats
    _tell(verdict, "handled twice without a fault", unexplained)


def self_made(events: Iterable[Event]) -> list[Fault]:
    """The faults that messages asked for: what their consumer had handled and not deleted comes again."""
    found = []
    for event in events:
        if event.event != "start":
            continue
        what = _instruction(event.body)
        slow = what.get("slow", 0.0)
        pids = frozenset({event.pid})
        if not _now(event, what):
            continue
        if {"exit", "die"} & set(what):
            found.append(Fault("crash of the consumer", event.at, event.at, repeats=True, pids=pids))
        elif isinstance(slow, float) and slow:
            # It may still come to its end in a process that nobody waits for.
            found.append(Fault("time limit of the handler", event.at, event.at + slow, repeats=True, pids=pids))
    return found


def _explains(fault: Fault, owners: AbstractSet[int], began: float, ended: float) -> bool:
    """Whether the fault came between the receive of a message and its delete, in a handling of these moments."""
    if not fault.repeats or fault.began > ended + DELETED or fault.ended < began - HELD_BACK:
        return False
    return fault.pids is None or bool(fault.pids & owners)


def _order(record: Record, verdict: Verdict) -> None:
    """In a FIFO group a message is begun after those before it are done with, and none before it is begun again."""
    groups: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for message in record.sent:
        if message.group is not None:
            groups[message.queue, message.group].append(message.key)
    place = {key: (group, number) for group, keys in groups.items() for number, key in enumerate(keys)}
    ended: set[str] = set()
    furthest: dict[tuple[str, str], int] = {}
    certain = {message.key for message in record.sent if message.certain}
    inversions = []
    for event in sorted(record.events, key=lambda event: event.at):
        key = key_of(event.body)
        if key is None or key not in place:
            continue
        group, number = place[key]
        if event.event == "end":
            ended.add(key)
        if event.event != "start":
            continue
        if number < furthest.get(group, -1):
            inversions.append(f"{key} begun after {groups[group][furthest[group]]}")
        inversions += [
            f"{key} begun before {before} was done"
            for before in groups[group][furthest.get(group, 0) : number]
            if before in certain and before not in ended and before not in record.dead
        ]
        furthest[group] = max(number, furthest.get(group, -1))
    verdict.counts["FIFO groups"] = len(groups)
    _tell(verdict, "FIFO order broken", inversions)


def _as_told(ending: Ending) -> bool:
    if ending.told is None:
        return False
    if ending.told == 15 and not ending.started:
        return ending.code in {0, -15}  # nothing was begun that would have to be ended in order
    return ending.code == (-9 if ending.told == 9 else 0)


def _instruction(body: str) -> dict[str, object]:
    what = json.loads(body).get("do")
    return what if isinstance(what, dict) else {}


def _hopeless(what: Mapping[str, object]) -> bool:
    """Whether a message can only end as a dead letter."""
    return "reject" in what or (bool({"exit", "die"} & set(what)) and "times" not in what)


def _now(event: Event, what: Mapping[str, object]) -> bool:
    """Whether the message asks for it at this receive."""
    times = what.get("times", 1_000)
    return isinstance(times, int) and event.receive_count <= times


def _tell(verdict: Verdict, problem: str, found: Iterable[str]) -> None:
    all_found = sorted(found)
    if all_found:
        more = f" and {len(all_found) - TOLD} more" if len(all_found) > TOLD else ""
        verdict.problems.append(f"{len(all_found)} {problem}: {', '.join(all_found[:TOLD])}{more}")
