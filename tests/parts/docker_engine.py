"""A real Docker Engine for tests and benchmarks: a daemon of their own where that can be had, else one that answers.

A daemon of our own may be killed, frozen and restarted, and nothing of the machine's own Engine is touched. It
needs root and `dockerd`; it keeps everything in one short temporary folder, makes no firewall rules and no
bridge (containers have no network unless they ask for the host's or make one), and dies with this process.
"""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import docker
from docker.errors import DockerException, ImageNotFound
from docker.utils import parse_repository_tag
from filelock import FileLock

from tests.parts.supervisord import wait_until

BASE = "fleet-test/base:latest"
"""A minimal Debian, with a shell and Perl in it."""

_SUITE = "bookworm"
_START = 90.0
_END = 40.0


class NoEngineError(Exception):
    """No Engine can be had here; the text says why."""


class Engine:
    """An Engine at an address. `private` tells that it is ours to stop and start."""

    private = False

    def __init__(self, url: str) -> None:
        self.url = url

    @property
    def environ(self) -> dict[str, str]:
        """Return what leads docker-py, `docker` and `docker-compose` to it."""
        return {"DOCKER_HOST": self.url}

    def client(self) -> docker.DockerClient:
        """Return a client, which its user closes."""
        return docker.DockerClient(base_url=self.url, version="auto", timeout=60)

    def answers(self) -> bool:
        """Tell whether it takes a request."""
        scheme, _, path = self.url.partition("://")
        if scheme == "unix":
            return _ping(path)
        try:
            with closing(self.client()) as client:
                return bool(client.ping())
        except (DockerException, OSError):
            return False

    def base_image(self, tag: str = BASE, *, include: tuple[str, ...] = ()) -> str:
        """Have a minimal Debian with these packages under this tag, unless the tag is there; return the tag."""
        with closing(self.client()) as client:
            try:
                client.images.get(tag)
            except ImageNotFound:
                repository, name = parse_repository_tag(tag)
                changes = ["ENV LANG=C.UTF-8", 'CMD ["/bin/bash"]']
                client.api.import_image(
                    str(_base_archive(include)), repository=repository, tag=name or "latest", changes=changes
                )
        return tag


class PrivateEngine(Engine):
    """A daemon of our own in a folder, which is gone afterwards."""

    private = True

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="fe-", dir="/tmp"))
        self.socket_folder = self.folder / "s"  # to be mounted as a whole: the socket in it is made anew
        self.socket_folder.mkdir()
        self.socket = self.socket_folder / "docker.sock"
        self._daemon: subprocess.Popen[bytes] | None = None
        super().__init__(f"unix://{self.socket}")

    @property
    def pid(self) -> int:
        """Return the daemon's process."""
        assert self._daemon is not None
        return self._daemon.pid

    def start(self) -> None:
        """Start the daemon and wait until it answers; raise NoEngineError if it ends instead."""
        places = {"data-root": "data", "exec-root": "x", "pidfile": "p"}
        command = [
            *("setpriv", "--pdeathsig", "TERM", "dockerd", "--host", self.url, "--shutdown-timeout", "5"),
            *("--iptables=false", "--ip6tables=false", "--bridge=none", "--config-file", self._config()),
            *(part for name, place in places.items() for part in (f"--{name}", str(self.folder / place))),
        ]
        with (self.folder / "log").open("ab") as log:
            self._daemon = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_until(lambda: self._has_ended() or self.answers(), self.log, _START)
        if self._has_ended():
            raise NoEngineError(f"dockerd ends at its start: {self.log()[-600:]}")

    def stop(self, number: int = signal.SIGTERM) -> None:
        """End the daemon, by a signal that lets it stop its containers first, or by one that does not."""
        if self._daemon is None:
            return
        daemon, self._daemon = self._daemon, None
        daemon.send_signal(signal.SIGCONT)
        daemon.send_signal(number)
        try:
            daemon.wait(_END)
        finally:
            daemon.kill()
            daemon.wait()
            self._end_containerd()

    def restart(self, number: int = signal.SIGTERM) -> None:
        """End the daemon and start it again."""
        self.stop(number)
        self.start()

    def freeze(self) -> None:
        """Let the daemon live, and do nothing more."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen daemon go on."""
        os.kill(self.pid, signal.SIGCONT)

    def recover(self) -> None:
        """Have it run and answer again, whatever was done to it."""
        if self._has_ended():
            self.start()
        self.thaw()

    def log(self) -> str:
        """Return the end of the daemon's log, to show where something fails."""
        with suppress(OSError):
            return (self.folder / "log").read_text(errors="replace")[-4000:]
        return ""

    def close(self) -> None:
        """Remove the containers, end the daemon and whatever it left behind, and delete the folder."""
        if self.answers():  # docker-py leaves a socket open where nothing does
            with suppress(DockerException, OSError), closing(self.client()) as client:
                for container in client.containers.list(all=True, ignore_removed=True):
                    with suppress(DockerException):
                        container.remove(force=True, v=True)
        with suppress(subprocess.TimeoutExpired):
            self.stop()
        for pid in self._processes():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not self._processes(), lambda: f"still there: {self._processes()}")
        for mount in self._mounts():
            subprocess.run(["umount", "--lazy", mount], check=False)
        shutil.rmtree(self.folder)

    def _has_ended(self) -> bool:
        return self._daemon is None or self._daemon.poll() is not None

    def _config(self) -> str:
        """Return an empty configuration, so that the machine's own does not get in the way."""
        path = self.folder / "daemon.json"
        path.write_text("{}")
        return str(path)

    def _end_containerd(self) -> None:
        """Wait for the containerd of a daemon that was killed: the next one would take a dying one for its own."""
        pid_file = self.folder / "x" / "containerd" / "containerd.pid"
        with suppress(OSError, ValueError):
            pid = int(pid_file.read_text())
            if pid in self._processes():
                os.kill(pid, signal.SIGTERM)
            wait_until(lambda: pid not in self._processes(), self.log)
            pid_file.unlink()

    def _processes(self) -> list[int]:
        """Return the processes of the daemon's own: containerd and its shims, which outlive a killed daemon."""
        found = []
        for entry in Path("/proc").iterdir():
            with suppress(OSError, ValueError):
                command = (entry / "cmdline").read_bytes().split(b"\0")
                if b"containerd" in command[0] and any(bytes(self.folder) + b"/" in part for part in command):
                    found.append(int(entry.name))
        return found

    def _mounts(self) -> list[str]:
        """Return what is mounted in the folder, the innermost first."""
        points = (line.split()[1] for line in Path("/proc/mounts").read_text().splitlines())
        return sorted((p for p in points if p.startswith(f"{self.folder}/")), reverse=True)


@contextmanager
def running_engine() -> Iterator[Engine]:
    """Give an Engine until the block ends: our own, else one that answers; raise NoEngineError without either."""
    try:
        own = _private_engine()
    except NoEngineError as error:
        engine = Engine(os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock")
        if not engine.answers():
            raise NoEngineError(f"{error}; and none answers at {engine.url}") from error
        yield engine
        return
    try:
        yield own
    finally:
        own.close()


def _ping(path: str) -> bool:
    """Ask without docker-py, which leaves a socket open where nothing listens."""
    with socket.socket(socket.AF_UNIX) as connection, suppress(OSError):
        connection.settimeout(5.0)
        connection.connect(path)
        connection.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
        return b" 200 " in connection.recv(64)
    return False


def _private_engine() -> PrivateEngine:
    missing = [
        name for name in ("dockerd", "setpriv", "debootstrap") if shutil.which(name, path=_path()) is None
    ]
    if os.geteuid() != 0 or missing:
        raise NoEngineError(f"{missing[0]} is not installed" if missing else "dockerd needs root")
    engine = PrivateEngine()
    try:
        engine.start()
    except (NoEngineError, AssertionError) as error:
        engine.close()
        raise NoEngineError(str(error)) from error
    return engine


def _base_archive(include: tuple[str, ...]) -> Path:
    """Return a tar file of a minimal Debian; made once on a machine, since that takes about a minute."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "model-fleet"
    cache.mkdir(parents=True, exist_ok=True)
    archive = cache / f"{'-'.join([_SUITE, *sorted(include)])}.tar"
    with FileLock(archive.with_suffix(".lock"), timeout=900, fallback_to_soft=False):
        if not archive.exists():
            with tempfile.TemporaryDirectory(dir=cache) as folder:
                _bootstrap(Path(folder), include)
                partial = Path(folder) / "image.tar"
                subprocess.run(["tar", "-C", f"{folder}/root", "-cf", str(partial), "."], check=True)
                partial.rename(archive)
    return archive


def _bootstrap(folder: Path, include: tuple[str, ...]) -> None:
    extra = [f"--include={','.join(include)}"] if include else []
    command = ["debootstrap", "--variant=minbase", *extra, _SUITE, str(folder / "root")]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "PATH": _path()}
    )
    if done.returncode:
        raise NoEngineError(f"debootstrap failed: {(done.stdout + done.stderr)[-600:]}")
    shutil.rmtree(folder / "root" / "var" / "cache" / "apt", ignore_errors=True)


def _path() -> str:
    return f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
