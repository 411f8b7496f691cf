"""Every example runs by itself, in a folder of its own, and says what it is there to say."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = sorted(p.name for p in (ROOT / "examples").glob("*.py"))

# example -> patterns that its output has, in this order
SAYS = {
    "black_scholes.py": [r"^price +\d", r"^vega +\d", r"^kernel 0", r"lanes", r"sum="],
    "curve_fit.py": [r"^step 300 +loss 0\.00\d", r"^frequency +[23]\.\d+ +\(true 3\.0\)"],
    "custom_function.py": [r"^gradcheck +True$", r"^traced gradient \["],
    "digits.py": [
        r"epoch +\d+/\d+ +loss", r"steps/s", r"signatures compiled in \d+ ms", r"written to out",
        r"^test accuracy: \d\d\.\d%\Z",
    ],
}


def run(name: str, folder: Path) -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(folder)}
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / name)], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    return done.stdout.strip()


@pytest.mark.parametrize("name", EXAMPLES)
def test_example(name, tmp_path):
    output = run(name, tmp_path)
    start = 0
    for pattern in SAYS[name]:
        found = re.compile(pattern, re.MULTILINE).search(output, start)
        assert found, f"no {pattern!r} in what follows:\n{output[start:]}"
        start = found.end()
    if name == "digits.py":
        accuracy = float(re.search(r"test accuracy: ([\d.]+)%", output)[1])
        assert accuracy >= 97
        assert list((tmp_path / "out").iterdir()), "no IR dump in out/"
