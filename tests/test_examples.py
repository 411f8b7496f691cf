"""Every example runs by itself, in a folder of its own, and says what it is there to say; so does the README."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = sorted(p.name for p in (ROOT / "examples").glob("*.py"))

# example -> patterns that its output has, in this order
SAYS = {
    "bad_inputs.py": [
        r"^ShapeError: .*\n  .*bad_inputs.py:\d+ .*\n +\^+\n  hint: ", r"^BoundsError: ", r"scalar outputs",
        r"second time",
        r"^ConcretizationError: ", r"^RecompileWarning: .* n: 3, then 4", r"no such file\nexit status 2$",
    ],
    "black_scholes.py": [r"^price +\d", r"^vega +\d", r"^kernel 0", r"lanes", r"sum="],
    "curve_fit.py": [r"^step 300 +loss 0\.00\d", r"^frequency +[23]\.\d+ +\(true 3\.0\)"],
    "custom_function.py": [r"^gradcheck +True$", r"^traced gradient \["],
    "digits.py": [
        r"epoch +\d+/\d+ +loss", r"steps/s", r"signatures compiled in \d+ ms", r"written to out",
        r"^test accuracy: \d\d\.\d%\Z",
    ],
    "quickstart.py": [r"^step 0: loss 0\.\d{4}, from lossBackward$", r"^step 3"],
}


def python(*arguments: object, folder: Path) -> str:
    """What a Python started in `folder` prints; it must succeed and print no error or warning."""
    command = [sys.executable, *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    return done.stdout.strip()


@pytest.mark.parametrize("name", EXAMPLES)
def test_example(name, tmp_path):
    output = python(ROOT / "examples" / name, folder=tmp_path)
    start = 0
    for pattern in SAYS[name]:
        found = re.compile(pattern, re.MULTILINE).search(output, start)
        assert found, f"no {pattern!r} in what follows:\n{output[start:]}"
        start = found.end()
    if name == "digits.py":
        accuracy = float(re.search(r"test accuracy: ([\d.]+)%", output)[1])
        assert accuracy >= 97
        assert list((tmp_path / "out").iterdir()), "no IR dump in out/"


def test_the_readme_shows_what_runs():
    readme = (ROOT / "README.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    output, dump = re.findall(r"```text\n(.*?)\n```", readme, re.DOTALL)
    quickstart = ROOT / "examples" / "quickstart.py"
    assert quickstart.read_text().endswith("\n\n" + code)
    assert python(quickstart, folder=ROOT) == output
    command, _, text = dump.partition("\n")
    assert command.startswith("$ jitgrad ")
    assert python("-m", *shlex.split(command)[1:], folder=ROOT) == text
