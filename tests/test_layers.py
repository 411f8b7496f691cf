"""Who may import whom: the directions of ARCHITECTURE.md, read from the source; and which names are public.

Every import statement counts, wherever it stands. Only the order inside `ir` leaves out those under
`if TYPE_CHECKING`, which bind nothing when the program runs.
"""

import ast
import importlib
import inspect
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
STDLIB = set(sys.stdlib_module_names)
FOLDERS = {"ir": ROOT / "ir", "codegen": ROOT / "codegen", "face": ROOT / "jitgrad"}

# What a folder may import beside the standard library.
MAY_IMPORT = {
    "ir": {"numpy", "jitgrad.ir"},
    "codegen": {"numpy", "llvmlite", "scipy_openblas32", "jitgrad.ir", "jitgrad.codegen"},
    "face": {"numpy", "jitgrad"},
}

# ir from the bottom up: a module imports modules of earlier rows only.
LAYERS = (
    {"errors", "special", "philox", "mincut", "costs"},
    {"types"},
    {"core"},
    {"ops"},
    {"builder"},
    {"verify", "printer", "interpreter"},
    {"parser"},
    {"rewrite"},
    {"patterns"},
    {"view_rules"},
    {"rules"},
    {"gathers", "pads"},
    {"scatters"},
    {"passes", "differentiate", "residuals", "absent", "fuse"},
)


def sources(folder: str) -> list[Path]:
    # The links jitgrad/ir and jitgrad/codegen are the other two folders.
    return [p for p in FOLDERS[folder].rglob("*.py") if not {"ir", "codegen"} & set(p.relative_to(ROOT).parts[1:-1])]


def module_of(folder: str, path: Path) -> str:
    """The dotted name under which the file is installed."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    parts = parts if folder == "face" else ("jitgrad", *parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(folder: str, path: Path, *, typing: bool = True) -> Iterator[str]:
    """The dotted names that a file imports; with `from x import y` both x and x.y."""
    name = module_of(folder, path)
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    tree = ast.parse(path.read_text(encoding="utf-8"))
    skipped = set()
    if not typing:
        for node in ast.walk(tree):
            if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
                skipped |= {id(n) for n in ast.walk(node)}
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            origin = ".".join([*base, *([node.module] if node.module else [])])
            yield origin
            yield from (f"{origin}.{alias.name}" for alias in node.names)


def within(name: str, allowed: set[str]) -> bool:
    return any(name == a or name.startswith(a + ".") for a in allowed)


@pytest.mark.parametrize("folder", FOLDERS)
def test_folders_import_only_what_they_may(folder):
    wrong = []
    for path in sources(folder):
        for name in imports(folder, path):
            if name.split(".")[0] in STDLIB or within(name, MAY_IMPORT[folder]):
                continue
            # `from .. import ir` names the package that holds both: what counts is what is taken from it.
            if name == "jitgrad" and folder != "face":
                continue
            wrong.append(f"{path.relative_to(ROOT)} imports {name}")
    assert not wrong, "\n".join(wrong)


def test_nothing_imports_the_face():
    """Not even through `from jitgrad import ...`: ir and codegen take each other only."""
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for folder in ("ir", "codegen")
        for path in sources(folder)
        for name in imports(folder, path)
        if within(name, {"jitgrad"}) and name != "jitgrad" and not within(name, MAY_IMPORT[folder])
    ]
    assert not wrong, "\n".join(wrong)


def layer_of(room: str) -> int:
    for i, layer in enumerate(LAYERS):
        if room in layer:
            return i
    raise AssertionError(f"ir/{room} stands in no layer: add it to LAYERS in {Path(__file__).name}")


def room_of(path: Path) -> str:
    """`ir/ops/record.py` is in the room `ops`, `ir/types.py` is the room `types`."""
    return path.relative_to(FOLDERS["ir"]).with_suffix("").parts[0]


def test_ir_imports_downwards():
    wrong = []
    for path in sources("ir"):
        room = room_of(path)
        if room == "__init__":
            continue
        for name in imports("ir", path, typing=False):
            parts = name.split(".")
            if parts[:2] != ["jitgrad", "ir"] or len(parts) < 3 or parts[2] == room:
                continue
            if layer_of(parts[2]) >= layer_of(room):
                wrong.append(f"ir/{path.relative_to(FOLDERS['ir'])} imports {parts[2]}")
    assert not wrong, "\n".join(sorted(set(wrong)))


@pytest.mark.parametrize("folder", ["ir", "codegen"])
def test_inside_a_package_imports_are_relative(folder):
    """So that the folder is one package whatever it is called."""
    for path in sources(folder):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                assert node.level or (node.module or "").split(".")[0] != "jitgrad", path
            elif isinstance(node, ast.Import):
                assert all(alias.name.split(".")[0] != "jitgrad" for alias in node.names), path


def modules_after(statement: str) -> set[str]:
    """The top-level modules that a fresh process has loaded after `statement`."""
    program = f"{statement}\nimport sys\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    return {name.split(".")[0] for name in done.stdout.split()}


@pytest.mark.parametrize("statement", ["import jitgrad", "import jitgrad.ir.passes, jitgrad.codegen.emit"])
def test_imports_leave_llvm_alone(statement):
    assert not modules_after(statement) & {"llvmlite", "scipy_openblas32"}
    assert "llvmlite" in modules_after(f"{statement}\nimport llvmlite")


PUBLIC = ("jitgrad", "jitgrad.autograd", "jitgrad.nn", "jitgrad.nn.functional", "jitgrad.optim")


@pytest.mark.parametrize("name", PUBLIC)
def test_dir_lists_public_names_alone(name):
    module = importlib.import_module(name)
    shown = {n: getattr(module, n) for n in dir(module) if not n.startswith("__")}
    assert set(shown) == set(module.__all__)
    modules = {n for n, value in shown.items() if inspect.ismodule(value)}
    assert modules == {p.rpartition(".")[2] for p in (*PUBLIC, "jitgrad.functional") if p.rpartition(".")[0] == name}
    assert not set(shown) & {"Any", "annotations", "importlib", "ModuleType"}
    assert name != "jitgrad" or {"Tensor", "trace", "float32", "pi", "default_generator"} <= set(shown)


def test_the_check_sees_a_wrong_import(tmp_path, monkeypatch):
    """Against a check that finds nothing whatever it is given."""
    (tmp_path / "ir").mkdir()
    text = "def f():\n    from .builder import Builder\n    import llvmlite.binding\n"
    (tmp_path / "ir" / "core.py").write_text(text)
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    monkeypatch.setitem(FOLDERS, "ir", tmp_path / "ir")
    with pytest.raises(AssertionError, match="imports llvmlite"):
        test_folders_import_only_what_they_may("ir")
    with pytest.raises(AssertionError, match="imports builder"):
        test_ir_imports_downwards()
