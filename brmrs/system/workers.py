"""Threads that work side by side, each with one thread of torch.

Several small computations keep the cores busy where one, split among all threads, would not.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial

import torch


@contextmanager
def side_by_side() -> Iterator[ThreadPoolExecutor]:
    """As many threads as torch has for one computation.

    Tasks must not start threads that use torch: these would have one thread of it, too.
    """
    threads = torch.get_num_threads()
    alone = partial(torch.set_num_threads, 1)  # of the calling thread, and of all that start later
    try:
        with ThreadPoolExecutor(threads, initializer=alone) as pool:
            yield pool
    finally:
        torch.set_num_threads(threads)
