"""Clips that other processes render while this one learns: a GPU wants more of them than one core makes."""
import collections
import concurrent.futures
import multiprocessing
import signal

import numpy as np
import torch

DEPTH = 2                                                   # results that a process makes before they are asked for


def begin():
    """In every process: the one that learns says when to stop, and saves first."""
    for s in (signal.SIGTERM, signal.SIGINT):
        signal.signal(s, signal.SIG_IGN)
    torch.set_num_threads(1)


def made(make, seed):
    return make(np.random.default_rng(seed))


class Ahead:
    """ahead(rng) gives make(rng); with workers by other processes, from seeds that rng draws, in this order. What was
    made and not asked for is lost with the process."""

    def __init__(self, make, workers):
        self.make, self.waiting = make, collections.deque()
        self.capacity = DEPTH * workers
        self.pool = workers and concurrent.futures.ProcessPoolExecutor(
            workers, multiprocessing.get_context("spawn"), begin)

    def order(self, rng):
        while len(self.waiting) < self.capacity:
            self.waiting.append(self.pool.submit(made, self.make, int(rng.integers(2 ** 63))))

    def ready(self, rng):
        """Whether the next is made already, or by this process alone."""
        self.order(rng)
        return not self.pool or self.waiting[0].done()

    def __call__(self, rng):
        if not self.pool:
            return self.make(rng)
        self.order(rng)
        return self.waiting.popleft().result()

    def close(self):
        """What is being made is waited for: save first."""
        if self.pool:
            self.pool.shutdown(cancel_futures=True)
