"""Work on many files in threads: decoders and the system let other threads run meanwhile."""

import collections
import concurrent.futures
import os
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

__all__ = ["in_threads"]

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def in_threads(
    function: Callable[[_Item], _Result],
    items: Iterable[_Item],
    *,
    workers: int | None = None,
    ahead: int | None = None,
) -> Iterator[_Result]:
    """Yield ``function(item)`` for each item, in their order.

    Few are under way at a time: `Executor.map` would queue a million at once, with what they hold.

    Args:
        function: What to do with an item.
        items: The items.
        workers: Threads; by default one a core, at most 8.
        ahead: Items that are done or under way at most; by default four a thread.
    """
    workers = workers or min(8, os.cpu_count() or 1)
    waiting: collections.deque[concurrent.futures.Future[_Result]] = collections.deque()
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) >= (ahead or 4 * workers):
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:  # interrupted, or not asked for more: what is queued is not waited for
            pool.shutdown(wait=False, cancel_futures=True)
