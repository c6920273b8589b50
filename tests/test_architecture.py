"""The shape of the package: layers, cycles, sizes, names, exports, and what a command may import."""

from __future__ import annotations

import ast
import graphlib
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import cotag

REPOSITORY = Path(__file__).resolve().parents[1]
SOURCE = REPOSITORY / "src" / "cotag"

LEVELS = {
    "cotag.__main__": 11,
    "cotag.cli": 10,
    "cotag.run": 9,
    "cotag.inference": 8,
    "cotag.training": 7,
    "cotag.models": 6,
    "cotag.labels": 5,
    "cotag.data": 4,
    "cotag.evaluation": 4,
    "cotag.recipe": 3,
    "cotag.recipe_settings": 2,
    "cotag.types": 2,
    "cotag.registry": 2,
    "cotag.storage": 1,
    "cotag.errors": 0,
}
TOP = 11
RECIPES = ("cotag.recipe", "cotag.recipe_settings")
RECIPE_READERS = ("cotag", "cotag.cli", "cotag.run", "cotag.recipe")

MODULE_LINES = 300
FUNCTION_LINES = 60
CONSTRUCTOR_ARGUMENTS = 8
FORBIDDEN_NAMES = {"utils", "util", "misc", "common", "helpers", "helper"}
HEAVY = ("torch", "torchvision", "timm", "accelerate", "pandas", "scipy", "sklearn", "plotly", "pycocotools")


# Reading the source


def module_name(path: Path, root: Path) -> str:
    parts = [root.name, *path.relative_to(root).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def modules(root: Path) -> dict[str, Path]:
    return {module_name(path, root): path for path in sorted(root.rglob("*.py"))}


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def walk(node: ast.AST, with_type_checking: bool) -> Iterator[ast.AST]:
    """Every node below, wherever it stands; what only a type checker sees is left out on demand."""
    for child in ast.iter_child_nodes(node):
        if is_type_checking(child) and not with_type_checking:
            assert isinstance(child, ast.If)
            for other in child.orelse:
                yield other
                yield from walk(other, with_type_checking)
            continue
        yield child
        yield from walk(child, with_type_checking)


def imports(name: str, path: Path, known: dict[str, Path], with_type_checking: bool) -> Iterator[tuple[int, str]]:
    """(line, module) for each import of a module of the package, at the top or inside a function."""
    package = name.split(".")[0]
    for node in walk(tree(path), with_type_checking):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                here = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
                base = ".".join([*here[: len(here) - node.level + 1], *filter(None, [node.module])])
            # the version is plain text at the top of the package and costs nothing to have
            names = [alias.name for alias in node.names if (base, alias.name) != (package, "__version__")]
            targets = [f"{base}.{item}" if f"{base}.{item}" in known else base for item in names]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            targets = [arg.value for arg in node.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str)]
        else:
            continue
        for target in targets:
            if target.split(".")[0] == package and target != name:
                yield node.lineno, target


def part(name: str) -> str:
    """The line of the table that a module belongs to: cotag.data.coco to cotag.data."""
    return ".".join(name.split(".")[:2])


# The checks: each takes the package's folder and returns what is wrong


def layer_violations(root: Path) -> list[str]:
    known = modules(root)
    found = []
    for name, path in known.items():
        if part(name) not in LEVELS and name != "cotag":
            found.append(f"{name}: has no line in LEVELS; say which layer it belongs to")
            continue
        for line, target in imports(name, path, known, with_type_checking=True):
            mine, other = LEVELS.get(part(name), TOP), LEVELS.get(part(target), TOP)
            if part(name) == part(target) and name != "cotag":
                continue
            if other >= mine:
                found.append(f"{name}:{line} imports {target}; only lower layers are allowed")
            elif part(target) in RECIPES and part(name) not in RECIPE_READERS:
                found.append(f"{name}:{line} imports {target}; components take plain arguments")
    return found


def cycle_violations(root: Path) -> list[str]:
    known = modules(root)
    graph = {
        name: {target for _, target in imports(name, path, known, with_type_checking=False) if target in known}
        for name, path in known.items()
    }
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return ["imports in a circle: " + " < ".join(error.args[1])]
    return []


def size_violations(root: Path) -> list[str]:
    found = []
    for name, path in modules(root).items():
        lines = len(path.read_text(encoding="utf-8").splitlines())
        if lines > MODULE_LINES:
            found.append(f"{name}: {lines} lines; at most {MODULE_LINES}")
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                if length > FUNCTION_LINES:
                    found.append(f"{name}:{node.lineno} {node.name}: {length} lines; at most {FUNCTION_LINES}")
            elif isinstance(node, ast.ClassDef):
                count = constructor_arguments(node)
                if count > CONSTRUCTOR_ARGUMENTS:
                    found.append(
                        f"{name}:{node.lineno} {node.name}: {count} arguments; at most {CONSTRUCTOR_ARGUMENTS}"
                    )
    return found


def constructor_arguments(node: ast.ClassDef) -> int:
    """How many arguments a class takes: those of ``__init__``, or the fields of a data class."""
    for member in node.body:
        if isinstance(member, ast.FunctionDef) and member.name == "__init__":
            given = member.args
            named = [*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg]
            return len([argument for argument in named if argument is not None]) - 1
    decorators = [ast.unparse(decorator).split("(")[0].split(".")[-1] for decorator in node.decorator_list]
    if "dataclass" not in decorators and "NamedTuple" not in [ast.unparse(base).split(".")[-1] for base in node.bases]:
        return 0
    fields = [member for member in node.body if isinstance(member, ast.AnnAssign)]
    return sum(
        "ClassVar" not in ast.unparse(field.annotation)
        and "init=False" not in (ast.unparse(field.value) if field.value else "")
        for field in fields
    )


def name_violations(root: Path) -> list[str]:
    return [
        f"{path.relative_to(root)}: name it for what it holds"
        for path in sorted(root.rglob("*"))
        if path.stem.removeprefix("_").removeprefix("test_") in FORBIDDEN_NAMES
        and (path.suffix == ".py" or path.is_dir())
    ]


def exit_violations(root: Path) -> list[str]:
    """Printing and leaving belong to the command line alone."""
    found = []
    for name, path in modules(root).items():
        if part(name) == f"{root.name}.cli":
            continue
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
            elif isinstance(node, ast.Raise) and node.exc is not None:
                called = ast.unparse(node.exc)
            else:
                continue
            if called in ("print", "sys.exit", "os._exit", "exit", "quit", "SystemExit"):
                found.append(f"{name}:{node.lineno} calls {called}")
    return found


def documented_names(page: str) -> list[str]:
    """The names of the first column of the page's table."""
    return re.findall(r"^\| `(\w+)` \|", page, flags=re.MULTILINE)


# The package passes


@pytest.mark.parametrize(
    "check", [layer_violations, cycle_violations, size_violations, name_violations, exit_violations]
)
def test_package_is_in_order(check: Callable[[Path], list[str]]) -> None:
    assert len(modules(SOURCE)) > 10
    assert check(SOURCE) == []


@pytest.mark.parametrize("folder", ["tests", "benchmarks"])
def test_no_drawers_beside_the_package(folder: str) -> None:
    assert name_violations(REPOSITORY / folder) == []


# Each check fails on what it must not let through

BAD: list[tuple[Callable[[Path], list[str]], dict[str, str], str]] = [
    (layer_violations, {"types/index.py": "from cotag.data import coco\n", "data/coco.py": ""}, "cotag.data.coco"),
    (layer_violations, {"errors.py": "import cotag.storage\n", "storage.py": ""}, "cotag.storage"),
    (layer_violations, {"data/coco.py": "from cotag.evaluation.metrics import mAP\n"}, "cotag.evaluation.metrics"),
    (layer_violations, {"evaluation/metrics.py": "def f():\n    from cotag.data import read\n"}, "cotag.data"),
    (layer_violations, {"evaluation/metrics.py": "from ..data import read\n"}, "cotag.data"),
    (layer_violations, {"models/tagger.py": "from cotag.training import optim\n"}, "cotag.training"),
    (layer_violations, {"models/tagger.py": "from cotag.recipe import Recipe\n"}, "plain arguments"),
    (layer_violations, {"data/coco.py": "from cotag import Index\n"}, "imports cotag;"),
    (layer_violations, {"data/a.py": "import importlib\nimportlib.import_module('cotag.run')\n"}, "cotag.run"),
    (
        layer_violations,
        {"data/a.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import cotag.run\n"},
        "cotag.run",
    ),
    (layer_violations, {"registry.py": "from cotag.types.index import Index\n"}, "cotag.types.index"),
    (layer_violations, {"novelty.py": ""}, "LEVELS"),
    (cycle_violations, {"data/a.py": "import cotag.data.b\n", "data/b.py": "from cotag.data import a\n"}, "circle"),
    (
        cycle_violations,
        {"data/a.py": "from cotag.data.b import x\n", "data/b.py": "def f():\n    from .a import y\n"},
        "circle",
    ),
    (size_violations, {"data/a.py": "x = 1\n" * 301}, "301 lines"),
    (size_violations, {"data/a.py": "def f():\n" + "    x = 1\n" * 60}, "61 lines"),
    (
        size_violations,
        {"data/a.py": "class A:\n    def __init__(self, a, b, c, d, e, f, g, *, h, i): ...\n"},
        "9 arguments",
    ),
    (
        size_violations,
        {"data/a.py": "@dataclass(frozen=True)\nclass A:\n" + "".join(f"    x{k}: int = 0\n" for k in range(9))},
        "9 arguments",
    ),
    (name_violations, {"data/utils.py": ""}, "data/utils.py"),
    (name_violations, {"helpers/coco.py": ""}, "helpers"),
    (name_violations, {"data/_common.py": ""}, "data/_common.py"),
    (exit_violations, {"data/coco.py": "def f():\n    print(1)\n"}, "cotag.data.coco:2 calls print"),
    (exit_violations, {"run.py": "import sys\nsys.exit(1)\n"}, "sys.exit"),
    (exit_violations, {"run.py": "raise SystemExit\n"}, "SystemExit"),
]


def package(folder: Path, files: dict[str, str]) -> Path:
    root = folder / "cotag"
    for name, text in {"__init__.py": "", **files}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root


@pytest.mark.parametrize(("check", "files", "said"), BAD)
def test_check_can_fail(check: Callable[[Path], list[str]], files: dict[str, str], said: str, tmp_path: Path) -> None:
    found = check(package(tmp_path, files))
    assert len(found) == 1
    assert said in found[0]


def test_checks_let_the_allowed_through(tmp_path: Path) -> None:
    fields = "".join(f"    x{k}: int = 0\n" for k in range(8)) + "    y: int = field(init=False)\n"
    files = {
        "cli/main.py": "import sys\nfrom cotag.run import train\nprint(1)\nsys.exit(0)\n",
        "run.py": "from cotag import __version__\nfrom cotag.recipe import Recipe\n" + "x = 1\n" * 298,
        "recipe.py": "from cotag.errors import CotagError\n",
        "errors.py": "",
        "data/a.py": "from cotag.data.b import B\ndef f():\n" + "    x = 1\n" * 59,
        "data/b.py": "if TYPE_CHECKING:\n    from cotag.data.a import f\n@dataclass\nclass B:\n" + fields,
    }
    root = package(tmp_path, files)
    for check in (layer_violations, cycle_violations, size_violations, name_violations, exit_violations):
        assert check(root) == []


# The public names


def test_exports_are_those_of_the_documentation() -> None:
    page = (REPOSITORY / "docs" / "python.md").read_text(encoding="utf-8")
    assert documented_names(page) == list(cotag.__all__)


def test_documented_names_are_read_from_the_table_alone() -> None:
    page = "Use `read`.\n\n| name | what |\n|---|---|\n| `read` | reads `Index` |\n| `train` | trains |\n"
    assert documented_names(page) == ["read", "train"]


@pytest.mark.parametrize("name", cotag.__all__)
def test_public_name_resolves(name: str) -> None:
    assert getattr(cotag, name) is not None


def test_unknown_public_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nothing_such"):
        _ = cotag.nothing_such


# What is imported when


def loaded_after(code: str) -> set[str]:
    """The heavy packages that a fresh interpreter has loaded after ``code``."""
    ending = f"import sys\nprint('LOADED', *[name for name in {HEAVY} if name in sys.modules])\n"
    found = subprocess.run([sys.executable, "-c", code + ending], capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    return set(found.stdout.splitlines()[-1].split()[1:])


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from cotag.cli.main import main\n"
        "sys.argv = ['cotag', '--help']\n"
        "try:\n    main()\nexcept SystemExit as leaving:\n    assert not leaving.code, leaving.code\n"
    )
    assert loaded_after(code) == set()


def test_values_and_metrics_do_without_torch() -> None:
    code = "import cotag\nvalues = cotag.Index, cotag.Scores, cotag.LabelSpace, cotag.Section, cotag.evaluate\n"
    assert not loaded_after(code) & {"torch", "torchvision", "timm", "accelerate"}


def test_loaded_packages_are_noticed() -> None:
    assert loaded_after("import scipy\n") == {"scipy"}
