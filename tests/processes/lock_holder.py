"""`python -m tests.processes.lock_holder URL IDLE_MS`: holds the writers' lock in a transaction, and never ends it.

It prints a line once it holds the lock. IDLE_MS stands in for the time that the server allows it.
"""

import sys
import threading

from generator.storage import dialect
from generator.storage.store import AlphaStore


def main(url: str, idle_ms: str) -> None:
    dialect.IDLE_IN_TRANSACTION_MS = int(idle_ms)
    with AlphaStore(url, owner="stopped").transaction() as connection:
        dialect.lock_writers(connection)
        sys.stdout.write("held\n")
        sys.stdout.flush()
        threading.Event().wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
