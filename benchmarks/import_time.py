"""What `import jitgrad` costs over `import numpy`, and what it leaves for later.

    python -m benchmarks.import_time [--times 15]

Prints medians over fresh processes, taken in turns, each timed by its own clock around the import statement,
byte code cached as an installed package has it; fails where the import brought in llvmlite, which is loaded
when first needed.

Imports: the standard library; what is measured is imported in processes of its own.
"""

import argparse
import os
import statistics
import subprocess
import sys

STATEMENTS = ("import numpy", "import jitgrad", "import llvmlite.binding")
LATER = ("llvmlite", "scipy_openblas32")


def seconds(statement):
    """(seconds that the statement took in a fresh process, which of LATER it loaded)."""
    code = (f"import sys, time; start = time.perf_counter(); {statement}; took = time.perf_counter() - start"
            f"; print(took, *(name for name in {LATER} if name in sys.modules))")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    took, *loaded = done.stdout.split()
    return float(took), loaded


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=int, default=15, help="processes of each kind")
    times = parser.parse_args().times
    taken = {statement: [] for statement in STATEMENTS}
    loaded = set()
    for _ in range(times + 1):
        for statement in STATEMENTS:
            took, names = seconds(statement)
            taken[statement].append(took)
            loaded.update(names if statement == "import jitgrad" else ())
    # Without the first process of each kind, which fills the file caches.
    median = {statement: statistics.median(t[1:]) for statement, t in taken.items()}
    for statement, t in median.items():
        print(f"{statement:26} {t * 1e3:6.0f} ms")
    over = median["import jitgrad"] - median["import numpy"]
    print(f"jitgrad over numpy         {over * 1e3:6.0f} ms")
    if loaded:
        sys.exit(f"import jitgrad loaded {', '.join(sorted(loaded))}")


if __name__ == "__main__":
    main()
