"""The monitor's threads: each repeats one job, posts its results, and never writes the state."""

import logging
import threading
from collections.abc import Callable
from functools import partial

from fleet.clients.gpu import Cards
from fleet.clients.ollama import Ollama
from fleet.clients.supervisor import Supervisor
from fleet.config.schema import Settings
from fleet.policy.caps import must_free
from fleet.policy.events import EventKind
from fleet.policy.facts import PrefetchDone
from fleet.policy.state import FleetState, SwitchPhase
from fleet.runtime.backoff import backoff_step
from fleet.runtime.clock import Clock
from fleet.runtime.errors import FleetError
from fleet.runtime.home import Home
from fleet.runtime.logging import fields
from fleet.runtime.units import Seconds
from monitor.inbox import Fact, Inbox, Read, Reported
from monitor.models.inventory import Inventory, Models, memory_known
from monitor.models.prefetch import Prefetcher
from monitor.models.pull import DiskCheck
from monitor.switching.executor import Switcher
from monitor.switching.generator_process import Generator
from monitor.switching.reconcile import SwitchJob
from monitor.watch.card import CardWatch
from monitor.watch.ollama import OllamaWatch

_log = logging.getLogger(__name__)
_RETRY: tuple[Seconds, ...] = (1.0, 2.0, 5.0, 15.0, 30.0)

Job = Callable[[], Seconds]
"""Does its work once and returns the seconds until the next time."""


class Worker:
    """Runs a job when the state calls for it, and after the job's own wait.

    A job that raises is run again, with back-off. `ended` is called as the thread ends, and `alive` is
    False from then on.
    """

    def __init__(
        self,
        name: str,
        job: Job,
        *,
        clock: Clock,
        stopping: threading.Event,
        first: Seconds,
        ended: Callable[[], None],
    ) -> None:
        self._name = name
        self._job = job
        self._clock = clock
        self._stopping = stopping
        self._first = first
        self._ended = ended
        self.alive = True
        self._called_for: object = None
        self._failures = 0
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread; the first job begins after `first`."""
        self._thread.start()

    def call_for(self, value: object) -> None:
        """Run the job now if the state has a new value that calls for it, one that is not empty."""
        before, self._called_for = self._called_for, value
        if value and value != before:
            self.wake()

    def wake(self) -> None:
        """Run the job now, or end the thread if the monitor ends."""
        self._wake.set()

    def _run(self) -> None:
        patience = self._first
        while not self._stopping.is_set():
            self._clock.wait(self._wake, patience)
            self._wake.clear()
            if not self._stopping.is_set():
                patience = self._work()
        self.alive = False
        self._ended()

    def _work(self) -> Seconds:
        try:
            patience = self._job()
        except FleetError as error:
            self._failures += 1
            reason = fields(worker=self._name, reason=error.message, attempt=self._failures)
            _log.warning("worker.waits", extra=reason)
        except Exception:  # noqa: BLE001  # atop a thread: an unforeseen fault is logged and tried again
            self._failures += 1
            _log.exception("worker.broken", extra=fields(worker=self._name, attempt=self._failures))
        else:
            self._failures = 0
            return patience
        return backoff_step(_RETRY, self._failures)


class Workers:
    """The threads beside the sources: one for switches and the generator, one for each kind of question to Ollama."""

    def __init__(
        self,
        *,
        home: Home,
        settings: Settings,
        ollama: Ollama,
        clock: Clock,
        read: Read,
        inbox: Inbox,
        stopping: threading.Event,
        disk: DiskCheck,
        cards: Cards,
    ) -> None:
        interval = settings.policy.check_interval

        def worker(name: str, job: Job, *, first: Seconds = 0.0) -> Worker:
            ended = partial(inbox.put, None)
            return Worker(name, job, clock=clock, stopping=stopping, first=first, ended=ended)

        switcher = Switcher(
            home=home,
            settings=settings,
            ollama=ollama,
            generator=Generator(Supervisor(home.socket, lane=home.lane), clock),
            clock=clock,
            read=read,
            post=inbox.post,
            stopping=stopping,
            disk=disk,
            cards=cards,
        )
        watch = OllamaWatch(
            home=home,
            settings=settings,
            ollama=ollama,
            clock=clock,
            read=read,
            post=inbox.post,
            lock=switcher.lock,
            stopping=stopping,
        )
        self._clock = clock
        self._prefetcher = Prefetcher(
            home=home,
            settings=settings,
            ollama=ollama,
            clock=clock,
            read=read,
            post=inbox.post,
            stopping=stopping,
            disk=disk,
        )
        inventory = Inventory(
            settings=settings,
            ollama=ollama,
            models=Models(ollama, settings.ladder),
            read=read,
            post=inbox.put,
            file=home.models_file,
            cards=cards,
        )
        card = CardWatch(home=home, settings=settings, ollama=ollama, read=read, post=inbox.post, cards=cards)
        self._switch = worker("switch", SwitchJob(switcher, inbox.post))
        self._card = worker("card", card, first=0.3 * interval)
        self._watch = worker("watch", watch, first=0.2 * interval)
        self._prefetch = worker("prefetch", self._prefetcher, first=0.4 * interval)
        self._inventory = worker("inventory", inventory)
        self._all = (self._switch, self._watch, self._prefetch, self._inventory, self._card)

    def start(self) -> None:
        """Start the threads."""
        for worker in self._all:
            worker.start()

    def follow(self, state: FleetState) -> None:
        """Wake the threads that the state calls for; the card watch runs by time alone."""
        switch, calls = state.switch, state.unanswered
        step = None if switch is None or switch.phase is SwitchPhase.VERIFY else switch.number
        self._switch.call_for(step or (must_free(state, self._clock.time()) and "free"))
        self._watch.call_for((state.watch.get("loaded"), calls is not None and calls.suspected))
        # While the generator is being restarted, no other job may use the processor or Ollama.
        self._prefetch.call_for(step is None and self._prefetcher.wanted(state))
        self._inventory.call_for(switch is None and memory_known(state))

    def wake(self) -> None:
        """Wake all threads, so that they end once the monitor ends."""
        for worker in self._all:
            worker.wake()

    def note(self, fact: Fact) -> None:
        """Refresh the inventory after a fact that changes the models."""
        back = isinstance(fact, Reported) and fact.kind is EventKind.OLLAMA_BACK
        if back or isinstance(fact, PrefetchDone):
            self._inventory.wake()

    @property
    def finishing(self) -> bool:
        """Return True while a thread may still have to remove a pause or a model of a trial."""
        return self._switch.alive or self._watch.alive
