"""Where a run of trio meets the engine's thread."""

from __future__ import annotations

import contextlib
from typing import Any

import outcome
import trio

from offgil import _core
from offgil.async_port import Event, Port

__all__ = ["TrioPort"]


class TrioPort(Port):
    """The port of one run of trio, which a system task of that run looks after."""

    def __init__(self, core: _core.Client, stream_type: type[_core.AsyncStream]) -> None:
        super().__init__(core, stream_type)
        self._token = trio.lowlevel.current_trio_token()
        self._scope = trio.CancelScope()
        self._over = False
        trio.lowlevel.spawn_system_task(self._listen)

    async def _listen(self) -> None:
        try:
            with self._scope:
                while True:
                    await trio.lowlevel.wait_readable(self._mailbox.fileno())
                    self._hand_out()
        finally:
            # The end of the run; or leave(), after which nobody waits any more.
            self._over = True
            self.abandon()

    async def outcome_of(self, number: int) -> Any:
        self._waiting[number] = trio.lowlevel.current_task()

        def abort(_: object) -> trio.lowlevel.Abort:
            self.cancel(number)
            return trio.lowlevel.Abort.SUCCEEDED

        result = await trio.lowlevel.wait_task_rescheduled(abort)
        if isinstance(result, Exception):
            raise result
        return result

    def settle(self, number: int, result: Any) -> None:
        target = self._waiting.pop(number, None)
        if isinstance(target, trio.lowlevel.Task):
            trio.lowlevel.reschedule(target, outcome.Value(result))
        elif target is not None:
            target.settle(number, result)

    def new_event(self) -> Event:
        return trio.Event()

    @property
    def gone(self) -> bool:
        return self._over

    def leave(self) -> None:
        self._hand_out()
        self._scope.cancel()

    def leave_soon(self) -> None:
        with contextlib.suppress(trio.RunFinishedError):
            self._token.run_sync_soon(self.leave)
