"""Lines on the terminal, each with the time since the command began."""

import sys
import threading
import time


class Progress:
    """Prints what happens, with elapsed times, from any thread."""

    def __init__(self) -> None:
        self._begun = time.monotonic()
        self._guard = threading.Lock()

    @property
    def elapsed(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self._begun

    def say(self, text: str) -> None:
        """Print one line."""
        with self._guard:
            sys.stdout.write(f"[{self.elapsed:6.1f}s] {text}\n")
            sys.stdout.flush()
