"""Where a study is kept: a journal file, or PostgreSQL. Workers share it, and may die at any moment."""

import copy
import json
import os
import re
import socket
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from filelock import FileLock, Timeout

from gaincell.errors import InputError

if TYPE_CHECKING:
    from optuna.storages import BaseStorage
    from optuna.study import Study
    from optuna.trial import FrozenTrial, Trial

#: Seconds between two signs of life in PostgreSQL, and of silence after which a worker is taken for dead.
HEARTBEAT_S, SILENCE_S = 30, 120
#: Of PostgreSQL's advisory lock that workers take turns by: any number that nobody else uses.
_LOCK = 0x6761_696E
#: A worker's name: its host, process and a number of its own.
_WORKER = re.compile(r"[\w.-]+ \d+ [0-9a-f]{12}", re.ASCII)
_SCHEMES = ("postgresql://", "postgres://", "postgresql+psycopg://")


def check_installed(storage: str | Path = "") -> None:
    """Refuse to go on without the packages that a study needs.

    Raises:
        InputError: which are missing, and what to install.
    """
    wanted = ["optuna", *(["psycopg"] if is_url(storage) else [])]
    missing = [name for name in wanted if find_spec(name) is None]
    if missing:
        raise InputError(f"explore needs {' and '.join(missing)}; install them with pip install 'gaincell[explore]'.")


def is_url(storage: str | Path) -> bool:
    """Whether a storage is a database's address, and no file."""
    return "://" in str(storage)


class Storage:
    """One storage, open, as one worker sees it.

    In PostgreSQL Optuna's own signs of life tell dead workers. A journal has none, so every worker holds a lock on a
    file beside it, which the operating system lets go of when the process ends, however that ends: whoever can take the
    lock of a worker knows that it is dead, at once, and a worker that is only slow is never taken for dead.

    Args:
        place: the path of a journal, or postgresql://...
        new: whether it may be a new one.
        heartbeat: seconds between two signs of life in PostgreSQL, and of silence after which a worker is dead.

    Raises:
        InputError: a storage of another kind, a folder, no such journal, or a database that does not answer.
    """

    def __init__(
        self, place: str | Path, *, new: bool = True, heartbeat: tuple[int, int] = (HEARTBEAT_S, SILENCE_S)
    ) -> None:
        check_installed(place)
        self.place = str(place)
        host = re.sub(r"[^\w.-]", "-", socket.gethostname(), flags=re.ASCII) or "-"
        self.worker = f"{host} {os.getpid()} {uuid.uuid4().hex[:12]}"
        with quiet():
            if is_url(place):
                self.optuna, self.turn = _database(self.place, heartbeat)
                self._workers = None
            else:
                path = Path(place)
                if path.is_dir() or not (new or path.is_file()):
                    raise InputError(f"storage {path} is no journal of a study; check the path.")
                path.parent.mkdir(parents=True, exist_ok=True)
                self.optuna, self.turn = _journal(path)
                self._workers = path.with_name(f"{path.name}.workers")

    @property
    def told(self) -> str:
        """What it is called where people read it: without the password of an address."""
        return f"storage {self.place.rpartition('@')[2].partition('?')[0]}"

    @contextmanager
    def alive(self) -> Iterator[None]:
        """For as long as the block lasts, others see that this worker lives."""
        if self._workers is None:
            yield
            return
        self._workers.mkdir(exist_ok=True)
        path = self._workers / self.worker
        try:
            with FileLock(path, timeout=0):
                yield
        finally:
            path.unlink(missing_ok=True)

    def claim(self, trial: "Trial") -> None:
        """Write down, in the turn in which a trial was begun, that this worker is at it."""
        from optuna.storages import RDBStorage

        if isinstance(self.optuna, RDBStorage):
            self.optuna.record_heartbeat(trial._trial_id)  # of a trial without any, none is ever missed
        trial.set_user_attr("worker", self.worker)
        trial.set_user_attr("claimed", trial.number)

    def take_back(self, study: "Study") -> None:
        """Put what dead workers had begun into the queue again; the caller has the turn.

        The new trial comes first and the dead one is ended after it, so that a worker that dies in between loses
        nothing, and the next one does not queue it twice, for the new one says what it is for.
        """
        from optuna.storages import RetryHeartbeatStaleTrialCallback, fail_stale_trials
        from optuna.trial import TrialState

        with quiet():
            if self._workers is None:
                fail_stale_trials(study)
            trials = study.get_trials(deepcopy=False)
            queued = {number for trial in trials for number in trial.system_attrs.get("retry_history", ())}
            again = RetryHeartbeatStaleTrialCallback()
            for trial in trials:
                if trial.state == TrialState.RUNNING and self._is_dead(trial):
                    if trial.number not in queued:
                        again(study, copy.deepcopy(trial))
                    study.tell(trial.number, state=TrialState.FAIL)

    def _is_dead(self, trial: "FrozenTrial") -> bool:
        """Whether the worker of a running trial is, as far as locks tell it.

        A trial is begun and claimed in one turn, and the caller has the turn now: a trial that is not claimed has lost
        its worker in between. One that is done again has the claim of the former on it, by its number.
        """
        if trial.user_attrs.get("claimed") != trial.number:
            return True
        if self._workers is None:
            return False
        name = trial.user_attrs.get("worker")
        if not isinstance(name, str) or not _WORKER.fullmatch(name):
            return True  # written by something else, and nothing to make a path of
        path = self._workers / name
        if path.is_symlink() or not path.is_file():
            return True
        lock = FileLock(path, timeout=0)
        try:
            lock.acquire()
        except Timeout:
            return False
        path.unlink(missing_ok=True)
        lock.release()
        return True


@contextmanager
def quiet() -> Iterator[None]:
    """Without Optuna's warnings of what is experimental in it, and its log."""
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            warnings.filterwarnings("ignore", "PedAnovaImportanceEvaluator computes")  # that less is better, as here
            yield
    finally:
        optuna.logging.set_verbosity(before)


class Turn:
    """What workers take turns by; released by the operating system, or the database, when a process dies."""

    def acquire(self) -> None:
        """Wait for the turn."""
        raise NotImplementedError

    def release(self) -> None:
        """Give it up, if it is held."""
        raise NotImplementedError


class _FileTurn(Turn):
    def __init__(self, path: Path) -> None:
        self._lock = FileLock(path)

    def acquire(self) -> None:
        self._lock.acquire()

    def release(self) -> None:
        if self._lock.is_locked:
            self._lock.release()


class _DatabaseTurn(Turn):
    """PostgreSQL's advisory lock, which ends with the connection."""

    def __init__(self, engine: Any) -> None:
        self._engine, self._connection = engine, None

    def acquire(self) -> None:
        from sqlalchemy import text

        self._connection = self._engine.connect()
        self._connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": _LOCK})

    def release(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _journal(path: Path) -> "tuple[BaseStorage, Turn]":
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    if path.is_file():
        with path.open("rb") as file:
            _check_start(path, file)
    backend = JournalFileBackend(str(path), lock_obj=_WriteLock(path))  # pyright: ignore[reportArgumentType]
    try:
        return JournalStorage(backend), _FileTurn(path.with_name(f"{path.name}.turn"))
    except (ValueError, KeyError, TypeError):
        raise InputError(f"storage {path} is no journal of a study, or damaged; choose another.") from None


def _check_start(path: Path, file: BinaryIO) -> None:
    """Refuse a file that does not begin with a whole line of a journal, unless it is empty."""
    first = file.readline(1 << 20)
    try:
        entry = json.loads(first) if first.endswith(b"\n") else first
    except ValueError:
        entry = None
    if first and not (isinstance(entry, dict) and {"op_code", "worker_id"} <= entry.keys()):
        raise InputError(f"storage {path} is no journal of a study; choose another.")


class _WriteLock:
    """Writers of a journal, one after the other, as Optuna's own locks have them, but that of a killed one is free.

    Those are files that a killed writer leaves behind, for half a minute. What it left of a line is taken off before
    the next one is written, which would else be joined to it; from a file that begins as a journal, and from no other.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._lock = path, FileLock(path.with_name(f"{path.name}.write"))

    def acquire(self) -> bool:
        self._lock.acquire()
        try:
            with suppress(FileNotFoundError), self._path.open("r+b") as file:
                _check_start(self._path, file)
                _cut_half_a_line(file)
        except BaseException:
            self._lock.release()
            raise
        return True

    def release(self) -> None:
        self._lock.release()


def _cut_half_a_line(file: BinaryIO) -> None:
    """Take off what follows the last whole line of a journal, of which there is one at least unless it is empty."""
    start = end = file.seek(0, os.SEEK_END)
    while start > 0:
        start = max(0, start - (1 << 16))
        file.seek(start)
        last = file.read(end - start).rfind(b"\n")
        if last >= 0:
            file.truncate(start + last + 1)
            return


def _database(url: str, heartbeat: tuple[int, int]) -> "tuple[BaseStorage, Turn]":
    scheme = next((scheme for scheme in _SCHEMES if url.startswith(scheme)), None)
    if scheme is None:
        raise InputError(f"storage {url.partition(':')[0]}:// is none; give the path of a journal, or postgresql://...")
    import sqlalchemy
    import sqlalchemy.exc
    from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback

    url = f"postgresql+psycopg://{url.removeprefix(scheme)}"
    interval, silence = heartbeat
    try:
        engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool)
        turn = _DatabaseTurn(engine)
        turn.acquire()  # tables are made by one worker at a time
        try:
            found = RDBStorage(
                url,
                engine_kwargs={"poolclass": sqlalchemy.NullPool},
                heartbeat_interval=interval,
                grace_period=silence,
                heartbeat_stale_trial_callback=RetryHeartbeatStaleTrialCallback(),
            )
        finally:
            turn.release()
    except (sqlalchemy.exc.SQLAlchemyError, ValueError) as error:
        first = (str(error).splitlines() or [""])[0][:120]
        where = url.rpartition("@")[2].partition("?")[0]
        raise InputError(
            f"the database {where} cannot be used ({first}); check its address and that it runs."
        ) from None
    return found, turn
