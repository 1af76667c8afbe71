"""Builds the agent from its configuration, runs it until told to stop, takes it down in order."""

import asyncio
import logging
import signal
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from zoneinfo import ZoneInfo

from berth.linux.sdnotify import notify
from berth.linux.tasks import Tasks
from nodeagent.api.server import serving
from nodeagent.config import Config
from nodeagent.duties.capacity import host_capacity
from nodeagent.duties.plans import Plans
from nodeagent.duties.policies import plugged_in
from nodeagent.duties.reclaim import Reclaimer
from nodeagent.duties.stop import PodStopper
from nodeagent.ledger.clock import Clock, WallClock
from nodeagent.ledger.journal.journal import Journal
from nodeagent.ledger.ledger import Ledger
from nodeagent.ledger.records import Environment

log = logging.getLogger(__name__)


def _milliseconds() -> int:
    return time.monotonic_ns() // 1_000_000


@asynccontextmanager
async def running(config: Config, clock: Clock | None = None) -> AsyncIterator[Ledger]:
    """The whole agent, serving while inside.

    Raises JournalError, DocumentRefused for a bad plan file where no plan is in force yet,
    FailedPrecondition if another daemon serves on the socket, and OSError if it cannot be made.
    """
    async with AsyncExitStack() as undo:
        plans = Plans(config.plan, ZoneInfo, host_capacity(), config.capacity, config.slices)
        ledger = await _open_ledger(config, plans, clock or WallClock(), undo)
        # Before anybody can ask: plan and capacities as they are now, and all that fell due while
        # the agent was away. What that forces back, `resume` finds in the state.
        await plans.reload(ledger)
        stopper = PodStopper(config.cri_socket)
        undo.push_async_callback(stopper.close)
        tasks = await undo.enter_async_context(Tasks())
        Reclaimer(ledger, stopper, tasks).resume()
        tasks.start(ledger.run_timers(), "ledger: run timers")
        tasks.start(plans.follow(ledger), "plan: follow the file")
        # Served last and so stopped first: whoever gets a reply finds everything behind it running,
        # and nothing is decided any more when the ledger writes its last snapshot.
        await undo.enter_async_context(serving(config.socket, ledger, plans, config.queues))
        yield ledger


async def _open_ledger(config: Config, plans: Plans, clock: Clock, undo: AsyncExitStack) -> Ledger:
    """The ledger as the journal has it."""
    journal = Journal(config.state / "journal")
    if journal.recovered.torn is not None:
        log.warning("the journal's torn tail was cut off: %s", journal.recovered.torn)
    for path in journal.recovered.skipped:
        log.error("snapshot %s is damaged; the one before it was used", path)
    policies = plugged_in()
    environment = Environment(ZoneInfo, policies, _milliseconds)
    try:
        ledger = await Ledger.open(journal, clock, environment, lambda: plans.initial(policies))
    except BaseException:
        await journal.close()
        raise
    undo.push_async_callback(ledger.close)
    return ledger


async def serve(config: Config) -> None:
    """Run until SIGTERM or SIGINT. Raises what ended the agent if it ends by itself."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with running(config) as ledger:
        log.info("serving on %s", config.socket)
        notify("READY=1")
        ledger.failed.add_done_callback(lambda _: stop.set())
        await stop.wait()
        notify("STOPPING=1")
    # Out of the context, so that the journal is closed and unlocked: the service manager starts
    # the agent again at once.
    if ledger.failed.done():
        ledger.failed.result()
