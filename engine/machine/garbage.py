"""Python's search for objects that refer to each other in circles, where it costs more than it brings."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_SELDOM = 100_000  # objects more than there were (Python's own: 700)


class _SeldomSearched:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._usual = gc.get_threshold()

    @contextmanager
    def __call__(self) -> Iterator[None]:
        with self._lock:
            if not self._users:
                self._usual = gc.get_threshold()
                gc.set_threshold(_SELDOM, *self._usual[1:])
            self._users += 1
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if not self._users:
                    gc.set_threshold(*self._usual)


#: Within it, the search is made seldom: for whoever makes very many objects that all stay, as a library's are. Each
#: search goes through them again: a third of the time that 10,000 songs take to be read. Threads may overlap in it.
seldom_searched = _SeldomSearched()
