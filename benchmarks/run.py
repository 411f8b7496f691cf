"""Verify chosen workloads on chosen peers against float64 NumPy, time them in turns, print ratios.

    python -m benchmarks.run [--only mlp,black_scholes/1e5] [--peers jitgrad,jax] [--threads 2] [--out FILE]

Every peer runs in this one process. One that is not installed is left out with a note; one whose result is
wrong is listed as wrong and is not timed.

Imports: the peers through `peers`, only after `environment.prepare`.
"""

import argparse
import contextlib
import json
import os
import shutil
import sys
import warnings

from . import environment, measure, peers, report
from .workload import load_all


def arguments():
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description=__doc__.splitlines()[0])
    parser.add_argument("--only", type=_words, default=(), help="starts of workload/case names")
    parser.add_argument("--peers", type=_words, default=peers.NAMES, help=f"some of {','.join(peers.NAMES)}")
    parser.add_argument("--threads", type=int, default=2, help="cores that the process gets")
    parser.add_argument("--rounds", type=int, default=20, help="samples of each peer; 0 verifies only")
    parser.add_argument("--sample", type=float, default=0.02, help="seconds that a sample should last")
    parser.add_argument("--settle", type=float, default=0.02, help="seconds of rest before a sample")
    parser.add_argument("--realtime", action="store_true", help="take samples at real-time priority")
    parser.add_argument("--out", help="write everything measured to this JSON file")
    parser.add_argument("--list", action="store_true", help="list workloads, cases and peers, and stop")
    options = parser.parse_args()
    if unknown := set(options.peers) - set(peers.NAMES):
        parser.error(f"no peer {', '.join(sorted(unknown))}: there are {', '.join(peers.NAMES)}")
    return options


def _words(text):
    return tuple(text.split(","))


def load_engines(names, threads):
    """Import and start the peers that are installed."""
    engines = {}
    for name in names:
        try:
            engines[name] = peers.load(name, threads)
        except ImportError as problem:
            print(f"without {name}: {problem}")
            continue
        engines[name].start()
    return engines


def run_case(workload, case, engines, options):
    print(f"\n{workload.name}/{case}", flush=True)
    d = workload.make(case)
    expected = workload.expected(d)
    records, running = {}, {}
    for name in workload.steps:
        engine = engines.get(name) or engines.get(name.partition(":")[0])
        if engine is None:
            continue
        engine.begin_case()
        records[name], step = measure.first_call(workload, name, d, expected, engine)
        if step is not None:
            running[name] = step, engine
    if options.rounds:
        with environment.realtime() if options.realtime else contextlib.nullcontext():
            times = measure.in_turns(running, options.rounds, options.sample, options.settle)
        for name in times:
            records[name].update(times[name])
    for name, record in records.items():
        print(report.line(name, record), flush=True)
    return {"workload": workload.name, "title": workload.title, "case": case, "tolerance": workload.tolerance,
            "peers": records}


def main():
    options = arguments()
    chosen = [(w, case) for w in load_all() for case in w.cases
              if not options.only or f"{w.name}/{case}".startswith(options.only)]
    if options.list:
        for workload, case in chosen:
            print(f"{workload.name}/{case}: {workload.title} ({', '.join(workload.steps)})")
        return
    caches = environment.prepare(options.threads)
    warnings.filterwarnings("ignore")  # the peers' own
    engines = load_engines(options.peers, options.threads)
    cases = [run_case(workload, case, engines, options) for workload, case in chosen]
    results = {"machine": environment.machine(), "versions": environment.versions(),
               "threads": options.threads, "cases": cases}
    print("\n" + report.tables(results))
    if options.out:
        with open(options.out, "w") as file:
            json.dump(results, file, indent=1)
    shutil.rmtree(caches, ignore_errors=True)
    sys.stdout.flush()
    os._exit(0)  # some peers' worker threads do not survive an orderly shutdown beside each other


if __name__ == "__main__":
    main()
