"""Who may import whom: the directions of ARCHITECTURE.md, read from the source; what headers say of it; and which
names are public.

Every import statement counts, wherever it stands. Only the order inside `ir` leaves out those under
`if TYPE_CHECKING`, which bind nothing when the program runs.
"""

import ast
import importlib
import inspect
import re
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

# The modules of ir, each of which imports only those before it: the list in its README.
ORDER = re.findall(
    r"`(\w+)/?`", (ROOT / "ir" / "README.md").read_text(encoding="utf-8").split("Where to look:")[1].split("\n\n")[0]
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


def place_of(room: str) -> int:
    assert room in ORDER, f"ir/{room} is not in the list of ir/README.md"
    return ORDER.index(room)


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
            if place_of(parts[2]) >= place_of(room):
                wrong.append(f"ir/{path.relative_to(FOLDERS['ir'])} imports {parts[2]}")
    assert not wrong, "\n".join(sorted(set(wrong)))


MODULES = {module_of(folder, path): path for folder in FOLDERS for path in sources(folder)}


def imported(name: str, *, deep: bool) -> set[str]:
    """Modules of the project that module `name` imports: with `deep` all, else those it needs to be imported itself."""
    path = MODULES[name]
    tree = ast.parse(path.read_text(encoding="utf-8"))
    skipped = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
    found = set()
    todo: list[ast.AST] = [tree]
    while todo:
        node = todo.pop()
        typing = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        if not deep and (typing or isinstance(node, skipped)):
            continue
        todo += ast.iter_child_nodes(node)
        if isinstance(node, ast.ImportFrom) and node.level:
            package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
            origin = ".".join([*package[: len(package) - node.level + 1], *([node.module] if node.module else [])])
            for alias in node.names:
                found.add(f"{origin}.{alias.name}" if f"{origin}.{alias.name}" in MODULES else origin)
    return found


def untrue(name: str, header: str) -> list[str]:
    """What the `Imports:` of a header says too much or too little. Its first sentence names modules, as seen from one
    of the packages around; a package stands for all in it. What is imported for types or in a function may be named.
    """
    sentence = re.search(r"^Imports: (.*?)\.(?:\s|$)", header, re.DOTALL | re.MULTILINE)
    needed = imported(name, deep=False)
    if sentence is None:
        return ["has no `Imports:`"] if needed else []
    parts = name.split(".")
    said = {
        word: {f"{'.'.join(parts[:i])}.{word}" for i in range(1, len(parts))} & set(MODULES)
        for word in re.findall(r"`([^`]+)`", sentence[1])
    }
    named = {module for modules in said.values() for module in modules}
    every = imported(name, deep=True)
    wrong = [f"says {word}" for word, where in said.items() if not any(within(module, where) for module in every)]
    if not re.search(r"\bevery(thing)?\b", sentence[1]):
        wrong += [f"lacks {module.removeprefix('jitgrad.')}" for module in sorted(needed) if not within(module, named)]
    return wrong


def test_headers_name_what_is_imported():
    wrong = []
    for name, path in MODULES.items():
        if not path.name.startswith("__"):
            header = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
            wrong += [f"{path.relative_to(ROOT)} {what}" for what in untrue(name, header)]
    assert not wrong, "\n".join(wrong)


def test_the_check_sees_an_untrue_header():
    name = "jitgrad.ir.rewrite"
    assert untrue(name, "Imports: `builder`, `core`, `ops`, `types`.") == []
    assert untrue(name, "Imports: `builder`, `core`, `types`.") == ["lacks ir.ops"]
    assert untrue(name, "Imports: `builder`, `core`, `fuse`, `no`, `ops`, `types`.") == ["says fuse", "says no"]
    assert untrue(name, "What it is.") == ["has no `Imports:`"]


def test_every_module_has_its_place_in_the_text():
    """Under its folder in ARCHITECTURE.md, or in the header of the package that it is in."""
    sections = re.split("^## ", (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    lacking = []
    for name, path in MODULES.items():
        package, _, word = name.rpartition(".")
        if path.name.startswith("__"):
            continue
        folder = next(f for f in ("jitgrad.ir", "jitgrad.codegen", "jitgrad") if within(name, {f})).rpartition(".")[2]
        [section] = [text for text in sections if text.startswith(f"`{folder}/`")]
        header = ast.get_docstring(ast.parse(MODULES[package].read_text(encoding="utf-8"))) or ""
        if f"`{word}`" not in section and not re.search(rf"\b{word}\b", header):
            lacking.append(name)
    assert not lacking, "\n".join(lacking)


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
