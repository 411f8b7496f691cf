"""A thousand forks and ten thousand calls on threads: whether any hangs, dies, or gives other bits.

    python -m tools.stress [--forks 1000] [--calls 10000] [--seconds 60]      or `make stress`

Calls come from several Python threads, each with another number of threads for its kernels, and sleep now and then,
so that workers do too. Forks happen while other threads are in kernels, compile, and let the pool grow; each child
calls with threads of its own. A child that has not ended after `--seconds` is killed and counted as a hang; if the
parent hangs, its stacks are printed and it ends. Exit status 0 if nothing went wrong.

Imports: `jitgrad`, NumPy.
"""

import argparse
import faulthandler
import os
import random
import signal
import sys
import threading
import time

import numpy as np

import jitgrad

F = jitgrad.nn.functional


@jitgrad.trace
def loss(x, w):
    """Row programs, a product, and sums over rows and over all: every kind of kernel that comes in chunks."""
    h = F.softmax(F.layer_norm(x @ w, (w.shape[1],)), -1)
    return (h * h).sum(), h.sum(0), h.exp()


def make(rows, columns):
    rng = np.random.default_rng(rows)
    return [jitgrad.tensor(rng.standard_normal(shape).astype(np.float32)) for shape in ((rows, 64), (64, columns))]


def bits(results):
    return [r.numpy().tobytes() for r in results]


class Stress:
    def __init__(self, options):
        self.options = options
        self.cases = [make(rows, columns) for rows, columns in ((700, 130), (300, 257), (2000, 64))]
        with jitgrad.threads(1):
            self.wanted = [bits(loss(*case)) for case in self.cases]
        self.wrong = self.hangs = self.dead = 0

    def check(self, threads, which):
        with jitgrad.threads(threads):
            if bits(loss(*self.cases[which])) != self.wanted[which]:
                self.wrong += 1

    def call(self, count, seed):
        draw = random.Random(seed)
        for _ in range(count):
            if draw.random() < 0.02:
                time.sleep(0.002)  # the workers fall asleep
            self.check(draw.choice((1, 2, 2, 2, 3, 5)), draw.randrange(len(self.cases)))

    def calls(self):
        callers = 4
        threads = [threading.Thread(target=self.call, args=(self.options.calls // callers, i)) for i in range(callers)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()

    def child(self):
        signal.alarm(self.options.seconds)  # ends a child that hangs
        self.wrong = 0
        for threads in (2, 3):
            for which in range(len(self.cases)):
                self.check(threads, which)
        fresh = jitgrad.trace(lambda x: (x * 2).sum())
        right = fresh(jitgrad.ones(64, 1024)).item() == 131072.0
        os._exit(0 if right and not self.wrong else 1)

    def forks(self):
        on = threading.Event()

        def run(seed):
            while not on.is_set():
                self.call(10, seed)

        def compile_again():
            while not on.is_set():
                jitgrad.trace(lambda x: (x * 3).sum())(jitgrad.ones(64, 1024))

        works = [threading.Thread(target=run, args=(1,)), threading.Thread(target=run, args=(2,)),
                 threading.Thread(target=compile_again)]
        for t in works:
            t.start()
        for i in range(self.options.forks):
            child = os.fork()
            if child == 0:
                self.child()
            status = os.waitpid(child, 0)[1]
            if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGALRM:
                self.hangs += 1
            elif status:
                self.dead += 1
            if (i + 1) % 100 == 0:
                print(f"{i + 1} forks, {self.hangs} hang, {self.dead} dead or wrong", flush=True)
        on.set()
        for t in works:
            t.join()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--forks", type=int, default=1000)
    parser.add_argument("--calls", type=int, default=10000)
    parser.add_argument("--seconds", type=int, default=60, help="after which a child is taken to hang")
    options = parser.parse_args()
    faulthandler.dump_traceback_later(3600, exit=True)
    stress = Stress(options)
    begun = time.perf_counter()
    stress.calls()
    seconds = time.perf_counter() - begun
    print(f"{options.calls} calls from 4 threads, {stress.wrong} wrong, {seconds:.1f} s", flush=True)
    begun = time.perf_counter()
    stress.forks()
    print(f"{options.forks} forks, {stress.hangs} hang, {stress.dead} dead or wrong, {stress.wrong} wrong calls beside "
          f"them, {time.perf_counter() - begun:.1f} s")
    sys.exit(bool(stress.wrong or stress.hangs or stress.dead))


if __name__ == "__main__":
    main()
