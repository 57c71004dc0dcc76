"""Ends jobs that a rule calls overdue, which no engine does of itself: Docker has no time limit."""

from __future__ import annotations

import asyncio
import logging

from pman.engine.reader import Reader
from pman.errors import ConfigError, EngineRefused, EngineUnreachable, UnknownJob
from pman.executors import Executor

log = logging.getLogger(__name__)

CHECK_INTERVAL_SECONDS = 5.0
"""Between two looks at all active jobs; a job may run so much longer than its time limit."""


async def end_overdue(executor: Executor, reader: Reader) -> None:
    """End all jobs that are overdue now. Raises EngineUnreachable."""
    for jid in await executor.active():
        await _end_if_overdue(executor, reader, jid)
        await asyncio.sleep(0)  # from the cache, a thousand looks would be one piece of work


async def _end_if_overdue(executor: Executor, reader: Reader, jid: str) -> None:
    """Asks again before it ends a job that may be doing well by now. Raises EngineUnreachable."""
    try:
        if not (await reader.info(jid)).overdue:
            return
        info = await reader.info(jid, fresh=True)
        if info.overdue:
            await executor.end(jid, info.message)
            log.info("%s was ended: %s", jid, info.message)
    except UnknownJob:
        return
    except (ConfigError, EngineRefused) as error:
        log.warning("%s is overdue and could not be ended: %s", jid, error)
    except EngineUnreachable as error:
        log.warning("whether %s is overdue cannot be told: %s", jid, error)
        await executor.ping()  # raises where that holds for all of them
