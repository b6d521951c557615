"""A PostgreSQL of a test run's own: a real one, in a temporary folder, on a unix socket, always stopped."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.parts.require import require

PART = "postgresql"
_USER = "fleet"
_NOBODY = ("postgres", "nobody")


@dataclass(frozen=True, slots=True)
class Cluster:
    """A running server; `run` calls one of its programs as whoever may."""

    folder: Path
    programs: Path
    account: int | None

    def url(self, database: str) -> str:
        """Return the SQLAlchemy URL of a database."""
        return f"postgresql+psycopg://{_USER}@/{database}?host={self.folder}"

    def run(self, program: str, *arguments: str) -> None:
        """Run one of PostgreSQL's programs to its end."""
        done = subprocess.run(
            [self.programs / program, *arguments],
            user=self.account,
            cwd=self.folder,
            env={"PATH": os.defpath, "LC_ALL": "C"},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, f"{program}: {done.stdout}{done.stderr}"

    def create(self, database: str) -> str:
        """Make an empty database and return its URL."""
        self.run("createdb", "-h", str(self.folder), "-U", _USER, database)
        return self.url(database)

    def start(self) -> None:
        """Start the server and wait until it answers."""
        # `pg_ctl` leaves its output open to the server, which would hold up whoever reads it to its end.
        log = self.folder / "log"
        self.run("pg_ctl", "-D", str(self.folder / "data"), "-w", "-t", "60", "-s", "-l", str(log), "start")

    def stop(self) -> None:
        """Stop it at once, as a restart of the service does: connections are cut."""
        self.run("pg_ctl", "-D", str(self.folder / "data"), "-w", "-t", "60", "-s", "-m", "fast", "stop")

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Stop the server's processes for the length of a `with` block: it takes connections and answers nothing."""
        first = int((self.folder / "data/postmaster.pid").read_text().split()[0])
        stopped = [first]
        try:
            os.kill(first, signal.SIGSTOP)  # first, so that it starts no further process
            for child in Path(f"/proc/{first}/task/{first}/children").read_text().split():
                with suppress(ProcessLookupError):
                    os.kill(int(child), signal.SIGSTOP)
                    stopped.append(int(child))
            yield
        finally:
            for one in stopped:
                with suppress(ProcessLookupError):
                    os.kill(one, signal.SIGCONT)


@contextmanager
def postgresql() -> Iterator[Cluster]:
    """Run a server for the length of a `with` block; the test needs PART where there is none to run."""
    programs, account = _programs(), _account()
    # Not pytest's folder: that of a root's run is closed to the account that has to run the server, and its
    # path may be longer than a socket's name can be.
    folder = Path(tempfile.mkdtemp(prefix="fleet-pg-"))
    cluster = Cluster(folder, programs, account)
    if account is not None:
        os.chown(folder, account, -1)
    try:
        data = str(folder / "data")
        cluster.run("initdb", "-D", data, "-U", _USER, "-A", "trust", "-E", "UTF8", "--no-sync")
        settings = (
            f"unix_socket_directories='{folder}'\nlisten_addresses=''\nfsync=off\nshared_buffers='16MB'\n"
        )
        with (folder / "data/postgresql.conf").open("a") as file:
            file.write(settings)
        cluster.start()
        try:
            yield cluster
        finally:
            if (folder / "data/postmaster.pid").exists():
                cluster.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _programs() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[4]))
    places = [path.parent for path in found]
    if (named := shutil.which("initdb")) is not None:
        places.append(Path(named).resolve().parent)
    for place in reversed(places):
        if (place / "pg_ctl").exists():
            return place
    return require(PART, "neither the search path nor /usr/lib/postgresql has initdb and pg_ctl")


def _account() -> int | None:
    """Return whom to run the server as: it refuses root. None: as ourselves."""
    if os.geteuid() != 0:
        return None
    for name in _NOBODY:
        try:
            return pwd.getpwnam(name).pw_uid
        except KeyError:
            continue
    return require(PART, "it does not run as root, and there is no other account")
