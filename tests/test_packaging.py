"""The three source folders as the packages jitgrad, jitgrad.ir, jitgrad.codegen, however they are installed.

Every case starts from a copy of the tracked files, as a clone has them: used in place, built into a wheel
and an sdist, installed plainly and editably. Nothing is downloaded: the builds use the setuptools of the
running environment, and the new environments see its site-packages for the dependencies.

Imports: nothing of jitgrad; every import of it happens in a process started for the purpose.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path, PurePosixPath

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = {"jitgrad": "jitgrad", "ir": "jitgrad/ir", "codegen": "jitgrad/codegen"}
OFFLINE = ("--no-deps", "--no-index", "--no-build-isolation", "--quiet")

# Imports every module of the three packages but __main__ and prints the folder each package came from.
PROBE = """
import importlib, importlib.util, pkgutil, jitgrad, jitgrad.ir, jitgrad.codegen
for m in pkgutil.walk_packages(jitgrad.__path__, "jitgrad."):
    if not m.name.endswith("__main__"):
        importlib.import_module(m.name)
print(*(importlib.util.find_spec(name) is None for name in ("ir", "codegen")))
print(*(p.__file__ for p in (jitgrad, jitgrad.ir, jitgrad.codegen)), sep="\\n")
"""


def run(*command: object, cwd: Path) -> str:
    clean = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    done = subprocess.run([str(c) for c in command], cwd=cwd, env=clean, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def tracked() -> list[str]:
    """The names of the files that a clone has."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a clone: git alone knows which files belong to the tree")
    return run("git", "ls-files", cwd=ROOT).splitlines()


@pytest.fixture(scope="module")
def tree(tmp_path_factory, tracked) -> Path:
    """A copy of the tracked files, links as links."""
    top = tmp_path_factory.mktemp("clone")
    for name in tracked:
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, top / name, follow_symlinks=False)
    return top


@pytest.fixture
def python(tmp_path) -> Path:
    """The interpreter of an environment that has jitgrad's dependencies and not jitgrad."""
    run(sys.executable, "-m", "venv", "--without-pip", tmp_path / "env", cwd=tmp_path)
    (site,) = (tmp_path / "env").glob("[Ll]ib/**/site-packages")
    # A path line of a .pth file adds the folder, and does not read the .pth files in that folder.
    folders = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (site / "dependencies.pth").write_text("\n".join(folders))
    return tmp_path / "env" / ("Scripts" if os.name == "nt" else "bin") / "python"


def pip_install(python: Path, what: list[object], cwd: Path) -> None:
    run(sys.executable, "-m", "pip", "--python", python, "install", *OFFLINE, *what, cwd=cwd)


def probe(python: Path, cwd: Path) -> list[Path]:
    """Where jitgrad, jitgrad.ir and jitgrad.codegen are found by a Python started in `cwd`."""
    alone, *files = run(python, "-c", PROBE, cwd=cwd).splitlines()
    if not (cwd / "ir").exists():  # started at the root, Python finds any folder there by its name
        assert alone == "True True", "ir or codegen is importable as a top-level name"
    return [Path(f) for f in files]


def modules(names: list[str]) -> dict[str, str]:
    """Tracked source file -> its path in the installed package."""
    found = {}
    for name in names:
        top, _, rest = name.partition("/")
        if top in FOLDERS and name.endswith((".py", "py.typed")):
            found[name] = f"{FOLDERS[top]}/{rest}"
    return found


def test_a_clone_works_in_place(tree):
    files = probe(Path(sys.executable), tree)
    assert [f.parent for f in files] == [tree / f for f in FOLDERS.values()]


def test_plain_install_works_anywhere_and_at_the_root(tree, python, tmp_path):
    pip_install(python, ["."], tree)
    assert all((tmp_path / "env") in f.parents for f in probe(python, tmp_path))
    assert all(tree in f.parents for f in probe(python, tree))


def test_editable_install_reads_the_tree(tree, python, tmp_path):
    pip_install(python, ["--editable", "."], tree)
    files = [f.resolve() for f in probe(python, tmp_path)]
    assert [f.parent for f in files] == [tree / name for name in FOLDERS]


def test_wheel_and_sdist_contents(tree, tracked, tmp_path):
    build = "from setuptools import build_meta; import sys; build_meta.build_sdist(sys.argv[1])"
    run(sys.executable, "-c", build, tmp_path, cwd=tree)
    (archive,) = tmp_path.glob("jitgrad-*.tar.gz")
    with tarfile.open(archive) as tar:
        inside = [str(PurePosixPath(*PurePosixPath(m.name).parts[1:])) for m in tar if not m.isdir()]
        tar.extractall(tmp_path, filter="data")
    assert len(inside) == len(set(inside))
    assert set(modules(inside)) == set(modules(tracked)), "the sdist's modules are not the tree's"
    assert {"LICENSE", "README.md", "pyproject.toml", "setup.py"} <= set(inside)
    assert {n for n in tracked if n.startswith(("tests/", "examples/"))} <= set(inside)

    # The wheel is built from the sdist: what an sdist lacks, pip users lack.
    unpacked = archive.with_name(archive.name.removesuffix(".tar.gz"))
    run(sys.executable, "-m", "pip", "wheel", *OFFLINE, "--wheel-dir", tmp_path, ".", cwd=unpacked)
    (built,) = tmp_path.glob("jitgrad-*.whl")
    inside = zipfile.ZipFile(built).namelist()
    assert len(inside) == len(set(inside))
    package = [n for n in inside if ".dist-info/" not in n]
    assert sorted(package) == sorted(modules(tracked).values())
    metadata = {n.partition(".dist-info/")[2] for n in inside} - {""}
    assert {"METADATA", "entry_points.txt", "licenses/LICENSE"} <= metadata
