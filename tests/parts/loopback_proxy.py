"""A TCP proxy on loopback before a unix socket, that can cut, refuse and freeze."""

import selectors
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path


class Loopback:
    """Passes bytes on between TCP connections and a unix socket."""

    def __init__(self, target: Path) -> None:
        self._target = target
        self._listener: socket.socket | None = None
        self._links: list[tuple[socket.socket, socket.socket]] = []
        self._lock = threading.Lock()
        self._frozen: set[int] = set()
        self.port = 0
        self.open()

    @property
    def url(self) -> str:
        return f"tcp://127.0.0.1:{self.port}"

    def open(self) -> None:
        """Take connections (again)."""
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self.port))
        listener.listen()
        self.port = listener.getsockname()[1]
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def shut(self) -> None:
        """Refuse connections, and cut those that there are."""
        if self._listener is not None:
            with suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
        self.cut()

    def cut(self) -> None:
        """Cut the connections that there are."""
        with self._lock:
            for link in self._links:
                for end in link:
                    with suppress(OSError):
                        end.shutdown(socket.SHUT_RDWR)

    def freeze(self) -> None:
        """Leave the connections that there are open, and pass nothing on through them any more."""
        with self._lock:
            self._frozen = {id(link) for link in self._links}

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            far = socket.socket(socket.AF_UNIX)
            try:
                far.connect(str(self._target))
            except OSError:
                near.close()
                far.close()
                continue
            link = (near, far)
            with self._lock:
                self._links.append(link)
            threading.Thread(target=self._pass_on, args=(link,), daemon=True).start()

    def _pass_on(self, link: tuple[socket.socket, socket.socket]) -> None:
        near, far = link
        with selectors.DefaultSelector() as selector, near, far, suppress(OSError):
            selector.register(near, selectors.EVENT_READ, far)
            selector.register(far, selectors.EVENT_READ, near)
            while self._move(selector, frozen=lambda: id(link) in self._frozen):
                pass
        with self._lock:
            self._links.remove(link)

    @staticmethod
    def _move(selector: selectors.BaseSelector, frozen: Callable[[], bool]) -> bool:
        for key, _ in selector.select():
            assert isinstance(key.fileobj, socket.socket)
            data = key.fileobj.recv(65536)
            if not data:
                return False
            if not frozen():
                key.data.sendall(data)
        return True
