"""Places that notices are delivered to: Apprise's services, and a command of the user's.

Apprise is imported only for a delivery. Addresses are secret: no error text, name or log line holds one.
"""

import hashlib
import json
import logging
import re
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from fleet.runtime.logging import plain_text
from fleet.runtime.units import Seconds

_COMMAND_TIMEOUT: Seconds = 30.0
_LONGEST_REASON = 200
_SHORTEST_SECRET = 4


class NoticePlace(Protocol):
    """A place that takes notices; `key` identifies it in files without its address, `name` shows it to people."""

    @property
    def key(self) -> str:
        """Return the identity."""
        ...

    @property
    def name(self) -> str:
        """Return the name for people."""
        ...

    def deliver(self, row: Mapping[str, Any], body: str) -> str:
        """Deliver a notice; return the reason of a failure, empty when it is delivered."""
        ...


@dataclass(frozen=True)
class AppriseUrl:
    """One address of Apprise's."""

    url: str
    name: str

    @property
    def key(self) -> str:
        """Return the beginning of the address's hash."""
        return _identity(self.url)

    def deliver(self, row: Mapping[str, Any], body: str) -> str:
        """Deliver a notice; return the reason of a failure, empty when it is delivered."""
        try:
            from apprise import Apprise, NotifyType  # noqa: PLC0415  # 0.2 s and 20 MB, for a delivery only
        except ImportError:
            return "the package apprise is not installed; `make setup` installs it"

        logging.getLogger("apprise").propagate = False  # its warnings hold parts of the address
        place = Apprise()
        if not place.add(self.url):
            return "Apprise does not know this address; its documentation lists the forms"
        kind = NotifyType.SUCCESS if row.get("state") == "over" else NotifyType.WARNING
        result = place.notify(title=str(row["title"]), body=body, notify_type=kind)
        if result:
            return ""
        warnings = [
            entry.message for one in result.results for attempt in one.attempts for entry in attempt.logs
        ]
        return self._without_secrets("; ".join(warnings)) or "the service did not take it"

    def _without_secrets(self, text: str) -> str:
        for part in re.split(r"[^\w.%-]+", self.url.partition("://")[2]):
            if len(part) >= _SHORTEST_SECRET:
                text = text.replace(part, "***")
        return plain_text("; ".join(text.split("\n")))[:_LONGEST_REASON]


@dataclass(frozen=True)
class NoticeCommand:
    """A program that reads the notice as a JSON object on its standard input. No shell runs it."""

    command: str
    name: str = "command"

    @property
    def key(self) -> str:
        """Return the beginning of the command's hash."""
        return _identity(self.command)

    def deliver(self, row: Mapping[str, Any], body: str) -> str:
        """Deliver a notice; return the reason of a failure, empty when the command exits with 0."""
        text = json.dumps({**row, "body": body})
        try:
            words = shlex.split(self.command)
            ended = subprocess.run(
                words, check=False, input=text, capture_output=True, text=True, timeout=_COMMAND_TIMEOUT
            )
        except subprocess.TimeoutExpired:
            return f"the command has not ended within {_COMMAND_TIMEOUT:g} s"
        except (OSError, ValueError) as error:
            return f"the command cannot be started: {getattr(error, 'strerror', None) or 'its quotes do not match'}"
        return "" if ended.returncode == 0 else f"the command ended with exit status {ended.returncode}"


def _identity(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()[:12]


def notice_places(urls: Sequence[str], command: str) -> list[NoticePlace]:
    """Return the places of `[notify]`; each is named by its setting and kind of address only."""
    places: list[NoticePlace] = [
        AppriseUrl(url, f"urls[{index}] ({url.partition('://')[0]})") for index, url in enumerate(urls)
    ]
    return [*places, NoticeCommand(command)] if command else places


def send_test(places: Sequence[NoticePlace], host: str, now: float) -> list[dict[str, str]]:
    """Send one notice to every place; return each place with its reason of failure, empty where it is delivered."""
    text = "This is a test. Notices of this fleet arrive here."
    row = {
        "id": f"test-{round(now)}",
        "number": None,
        "kind": "test",
        "state": "begun",
        "time": now,
        "host": host,
        "title": f"Model Fleet on {host}: test",
        "text": text,
        "mend": "",
        "line": "",
    }
    return [{"place": place.name, "reason": place.deliver(row, text)} for place in places]
