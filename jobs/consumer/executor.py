"""The executor: as many slots as the queue's concurrency says at the moment, as threads or as tasks of the event loop.

An `async def` handler gets tasks, since a thread that waits for a task costs more than most handlers take.
"""

from __future__ import annotations

from jobs.consumer.gathering import GatheringBuffer
from jobs.consumer.handler_loop import HandlerLoop
from jobs.consumer.loop_slots import LoopSlots
from jobs.consumer.run_end import RunEnd
from jobs.consumer.thread_slots import ThreadSlots
from jobs.consumer.turn import HandlerSpec, Pipeline
from queuesite.foundation.threads import OnDeath, end_process


class Executor:
    """Runs handlers in slots; the pipeline decides what happens to each message."""

    def __init__(
        self,
        buffer: GatheringBuffer,
        spec: HandlerSpec,
        pipeline: Pipeline,
        loop: HandlerLoop,
        on_death: OnDeath = end_process,
        *,
        settling_blocks: bool = False,
    ) -> None:
        self._buffer = buffer
        self._spec = spec
        self._concurrency = 0
        self._tasks = LoopSlots(buffer, pipeline, lambda: self._spec, loop, on_death, settling_blocks=settling_blocks)
        self._threads = ThreadSlots(buffer, pipeline, lambda: self._spec, self._tasks, on_death)

    @property
    def spec(self) -> HandlerSpec:
        """What is done with the messages from now on."""
        return self._spec

    @spec.setter
    def spec(self, spec: HandlerSpec) -> None:
        before, self._spec = self._spec, spec
        if before.handler.is_async != spec.handler.is_async and self._concurrency:
            self.resize(self._concurrency)

    def resize(self, concurrency: int) -> None:
        """Have `concurrency` slots. Never are more messages handled at once than were allowed when the last was begun.

        While there are more threads, the first that has no message ends.
        """
        self._concurrency = concurrency
        in_loop = self._spec.handler.is_async
        if in_loop:
            self._tasks.start()
        self._buffer.serve(concurrency, self._tasks.wake if in_loop else None)
        self._threads.resize(0 if in_loop else concurrency)
        self._buffer.wake()

    def work(self, ending: RunEnd) -> None:
        """Return when the run is to end; until then the slots work."""
        ending.wait()

    def close(self) -> bool:
        """Cancel the handlers that are still on the event loop; whether none is left. Threads end with their buffer."""
        return self._tasks.close()
