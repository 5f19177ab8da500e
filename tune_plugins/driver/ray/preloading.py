"""The preloading process of this machine, for one run: found warm, or started; another one where one is of no use."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from multiprocessing.connection import Connection

from tune_plugins.driver.code import sources_of
from tune_plugins.worker.agent import CAN_FORK, Agent
from tune_plugins.worker.orders import Preload
from tune_plugins.worker.setting import Setting
from tune_plugins.worker.snapshot import Snapshot

logger = logging.getLogger(__name__)

_MOST_TRIED = 3
# No import depends on these; Ray sets some of them when it is started.
_VOLATILE = frozenset(("COLUMNS", "LINES", "PWD", "OLDPWD", "PYTEST_CURRENT_TEST", "PYTHONBREAKPOINT", "_"))

_lock = threading.RLock()
_seen = Snapshot()
_version = 0
_learned: dict[object, tuple[str, ...]] = {}
_unfit: dict[object, set[str]] = {}
_agents: list[Agent] = []


def version_of(snapshot: Snapshot) -> int:
    """Number of the version of the user's code: the same as before while nothing that was seen has changed."""
    global _seen, _version
    with _lock:
        if _seen.still_holds(snapshot):
            _seen = Snapshot({**_seen.sources, **snapshot.sources})
        else:
            _seen, _version = snapshot, _version + 1
            _learned.clear()
            _unfit.clear()
        return _version


def note_imported(modules: Iterable[str]) -> None:
    """Trials have imported these; those of the user's that nobody could foresee belong to the version, too."""
    global _seen
    with _lock:
        more = {name: source for name, source in sources_of(modules).items() if name not in _seen.sources}
        if more:
            _seen = Snapshot({**_seen.sources, **more})


class Preloading:
    """What processes of a run are forked from.

    Args:
        modules: to be imported, in order.
        version: of the user's modules.
        setting: of the driver, with the environment of the processes.

    Attributes:
        label: what a preloading process must have in common with this run.
        trouble: why there is nothing to fork from; empty: there is, or will be.
    """

    def __init__(self, modules: Sequence[str], version: int, setting: Setting) -> None:
        self._modules, self._setting = tuple(dict.fromkeys(modules)), setting
        self._certain = len(self._modules)
        environ = setting.environ or {}
        kept = sorted(item for item in environ.items() if item[0] not in _VOLATILE and not item[0].startswith("RAY_"))
        self.label = (version, tuple(kept), setting.search_path)
        self._modules = tuple(dict.fromkeys((*self._modules, *_learned.get(self.label, ()))))
        self._without = _unfit.setdefault(self.label, set())
        self._tried = 0
        self._tried_to_learn = 0
        self._behind = False
        self._users: list[Agent] = []
        self._known = self._all()
        self.trouble = "" if CAN_FORK else f"processes cannot be forked safely on {sys.platform}"
        self._agent: Agent | None = None
        if not self.trouble:
            self._take_one()

    @property
    def connections(self) -> list[Connection]:
        """On which there is something to hear."""
        return [agent.connection for agent in self._users if not agent.connection.closed]

    def agent(self) -> Agent | None:
        """The preloading process; None: it is not ready yet, or there is `trouble`."""
        if self._agent is None:
            return None
        if self._behind:
            self._behind = False
            self._take_one()
        self._agent.listen()
        if self._agent.trouble:
            self._another()
        return self._agent if self._agent is not None and self._agent.ready else None

    def listen(self) -> None:
        """Take in what all of them have to say."""
        for agent in self._users:
            agent.listen()

    def learn(self, modules: Iterable[str]) -> None:
        """These were imported by a trial; processes to come should have them from the beginning."""
        if self._agent is None:
            return
        new = [
            name
            for name in modules
            if name.partition(".")[0] != "ray" and not self._is_unfit(name) and not self._agent.has(name)
        ]
        if new:
            logger.debug(
                "a trial has imported %d modules more, such as %s; processes to come have them", len(new), new[0]
            )
            self._modules = (*self._modules, *new)
            self._behind = True
            _learned[self.label] = (*_learned.get(self.label, ()), *new)

    def _another(self) -> None:
        """The one there is of no use: try without the modules that are to blame."""
        assert self._agent is not None
        trouble, culprits = self._agent.trouble, self._agent.culprits
        if only_learned := bool(culprits) and not any(map(self._is_certain, culprits)):
            self._tried_to_learn += 1
        else:
            self._tried += 1
        if self._tried >= _MOST_TRIED:
            logger.debug("trials run in Ray actors, since processes cannot be forked: %s", trouble)
            self._agent, self.trouble = None, trouble
            return
        logger.debug("the preloading process is of no use: %s; another one without", trouble)
        self._without.update(culprits)
        if only_learned and self._tried_to_learn >= _MOST_TRIED:
            # What trials were seen to import is a gain of time only: each imports it for itself, then.
            self._without.update(self._modules[self._certain :])
        self._take_one()

    def _is_certain(self, module: str) -> bool:
        """Whether a module, or a part of it, was foreseen."""
        return any(f"{known}.".startswith(f"{module}.") for known in self._modules[: self._certain])

    def _is_unfit(self, module: str) -> bool:
        """Whether a module, or a package that it is in, is left to each trial."""
        parts = module.split(".")
        return any(".".join(parts[:end]) in self._without for end in range(1, len(parts) + 1))

    def _take_one(self) -> None:
        wanted = [name for name in self._modules if not self._is_unfit(name)]
        with _lock:
            alike = [agent for agent in self._known if agent.label == self.label and not agent.trouble]
            whole = max((a for a in alike if all(map(a.has, wanted))), key=lambda agent: agent.size, default=None)
            if whole is None:
                whole = self._start(wanted, next((agent for agent in reversed(alike) if agent.ready), None))
            self._agent = whole
            if whole is None:
                return
            if whole not in self._users:
                whole.runs += 1
                self._users.append(whole)
            for other in [agent for agent in self._users if agent is not whole and not agent.busy]:
                other.runs -= 1
                self._users.remove(other)
            if self._known is _agents:
                _close_idle(but=whole)

    def _all(self) -> list[Agent]:
        """Where to find one that is there already."""
        return _agents

    def _start(self, wanted: list[str], like: Agent | None) -> Agent | None:
        if like is not None and like.node is None:
            started = like.successor([name for name in wanted if not like.has(name)])
        else:
            preload = Preload(tuple(wanted), self._setting.search_path, self._setting.snapshot, tuple(sys.argv))
            try:
                started = self._open(preload)
            except OSError as error:
                self.trouble = f"no preloading process can be started: {error}"
                return None
        self._known.append(started)
        return started

    def _open(self, preload: Preload) -> Agent:
        assert self._setting.environ is not None
        return Agent(preload, self._setting.environ, self.label)

    def close(self) -> None:
        """The run is over; the last preloading process stays warm."""
        with _lock:
            for agent in self._users:
                agent.runs -= 1
            self._users.clear()
            _close_idle(but=self._agent)


class RemotePreloading(Preloading):
    """Those on another node, for one run: they end with it, since others may want what they hold.

    Args:
        modules, version, setting: see `Preloading`.
        open_there: starts one.
    """

    def __init__(
        self, modules: Sequence[str], version: int, setting: Setting, open_there: Callable[[Preload, object], Agent]
    ) -> None:
        self._open_there = open_there
        super().__init__(modules, version, setting)

    def learn(self, modules: Iterable[str]) -> None:
        """Nothing: another one would have to import everything again."""

    def _all(self) -> list[Agent]:
        return []

    def _open(self, preload: Preload) -> Agent:
        return self._open_there(preload, self.label)

    def close(self) -> None:
        """The run is over."""
        for agent in self._known:
            agent.close()
        self._users.clear()


def _close_idle(but: Agent | None) -> None:
    """Close those that serve no run, except one, and those like it of which processes wait warm."""
    for agent in list(_agents):
        alike = but is not None and agent.label == but.label and agent.busy
        if agent is not but and not agent.runs and not alike:
            _agents.remove(agent)
            agent.close()


def shutdown() -> None:
    """End all preloading processes that serve no run."""
    with _lock:
        _learned.clear()
        _unfit.clear()
        _close_idle(but=None)
