"""
The shape of the code base: packages and their interfaces, imports that run one way, bounds on size.

What a package's docstring promises in one of the sentences of PROMISES is checked here. `python -m
tests.test_architecture` prints which package imports which, and any modules that import each other in a
cycle.
"""

import ast
import graphlib
import importlib
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent
PRODUCT = ROOT / "collector"
MODULES = sorted(PRODUCT.rglob("*.py"))
PACKAGES = sorted(path.parent.name for path in PRODUCT.glob("*/__init__.py"))

LAYERS = [
    {"scrubbing", "pasting"},
    {"errors"},
    {"clock", "retry", "wakeup", "protocol"},
    {"facts", "postgres", "exchange", "rest"},
    {"subscriptions", "rawblocks", "observe"},
    {"storage", "live"},
    {"database", "spool"},
    {"session", "markets", "maintenance", "recording"},
    {"web", "simulator", "config"},
    {"app"},
    {"demo"},
    {"cli"},
    {"__main__"},
]
"""From the bottom up. A package or module imports from lower layers, and from itself."""

FUNCTION_LINES_MAX = 70
MODULE_LINES_MAX = 500
POSITIONAL_MAX = 5

IMPURE = {
    "asyncio",
    "httpx2",
    "hypercorn",
    "logging",
    "os",
    "pathlib",
    "psycopg",
    "quart",
    "random",
    "socket",
    "structlog",
    "subprocess",
    "threading",
    "time",
    "trio",
    "trio_websocket",
}
"""Modules with I/O, time, chance or logs in them."""
SQL = re.compile(
    r"\s*(SELECT|INSERT INTO|UPDATE \w+ SET|DELETE FROM|CREATE|ALTER|DROP|COPY"
    r"|SET (LOCAL|TRANSACTION)|WITH \w+ AS|COMMENT ON)\b"
)


def name_of(path: Path) -> str:
    """The package or top-level module that a file belongs to."""
    return path.relative_to(PRODUCT).parts[0].removesuffix(".py")


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imports_of(path: Path) -> Iterator[tuple[str, list[str]]]:
    """
    Modules that a file imports, with the names that it takes from them; inside functions too. What is taken
    from the product itself is a module, except its version.
    """
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, []) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            names = [alias.name for alias in node.names]
            if node.module == "collector":
                yield from ((f"collector.{name}", []) for name in names if name != "__version__")
            else:
                yield str(node.module), names


def imported_names(path: Path) -> set[str]:
    """Packages and top-level modules of the product that a file imports."""
    parts = [module.split(".") for module, _ in imports_of(path)]
    return {part[1] for part in parts if part[0] == "collector" and len(part) > 1}


def package_imports() -> dict[str, set[str]]:
    """For each package and top-level module, those that it imports."""
    graph: dict[str, set[str]] = {}
    for path in MODULES:
        if path.parent != PRODUCT or path.name != "__init__.py":
            graph.setdefault(name_of(path), set()).update(imported_names(path) - {name_of(path)})
    return graph


def module_imports() -> dict[str, set[str]]:
    """For each module of the product, the modules that it imports when it is imported itself."""
    graph: dict[str, set[str]] = {}
    for path in MODULES:
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        statements = [node for node in tree_of(path).body if isinstance(node, ast.ImportFrom)]
        graph[module] = {
            # A module may be taken from its package by name.
            f"{node.module}.{alias.name}" if alias.name.startswith("_") else str(node.module)
            for node in statements
            if str(node.module).startswith("collector.")
            for alias in node.names
        }
    return graph


def id_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", MODULES, ids=id_of)
def test_imports_run_one_way(path: Path) -> None:
    """A package imports only packages of lower layers."""
    name = name_of(path)
    if name == "__init__":
        return
    layer = {each: number for number, names in enumerate(LAYERS) for each in names}
    for other in imported_names(path) - {name}:
        assert layer[other] < layer[name], f"{path.name} imports {other}"


def test_no_module_imports_itself_by_way_of_others() -> None:
    """Modules do not import each other in a cycle, not even within a package."""
    graphlib.TopologicalSorter(module_imports()).prepare()


@pytest.mark.parametrize("path", MODULES, ids=id_of)
def test_packages_are_imported_through_their_interface(path: Path) -> None:
    """What another package offers is what its `__init__` exports; its modules are private."""
    for module, names in imports_of(path):
        parts = module.split(".")
        if parts[0] != "collector" or len(parts) < 2 or parts[1] == name_of(path):
            continue
        assert len(parts) == 2, f"{module} is private to its package"
        if parts[1] in PACKAGES:
            exported = exports_of(parts[1])
            assert set(names) <= exported, f"{parts[1]} does not export {set(names) - exported}"


def exports_of(package: str) -> set[str]:
    module: ModuleType = importlib.import_module(f"collector.{package}")
    return set(getattr(module, "__all__", ()))


@pytest.mark.parametrize("package", PACKAGES)
def test_interface_has_only_what_others_use(package: str) -> None:
    """An exported name is used by another package: what nobody uses is private."""
    used = {
        name
        for path in MODULES
        if name_of(path) != package
        for module, names in imports_of(path)
        if module == f"collector.{package}"
        for name in names
    }
    assert exports_of(package) == used


@pytest.mark.parametrize("package", PACKAGES)
def test_modules_are_named_private(package: str) -> None:
    """A file in a package begins with an underscore, and the package's docstring says what each is for."""
    docstring = ast.get_docstring(tree_of(PRODUCT / package / "__init__.py")) or ""
    for path in (PRODUCT / package).glob("*.py"):
        if path.name != "__init__.py":
            assert path.name.startswith("_")
            if len(list((PRODUCT / package).glob("_[a-z]*.py"))) > 1:
                assert f"`{path.stem}`" in docstring, f"{package} does not say what {path.stem} is for"


# ---------------------------------------------------------------- what the docstrings promise


CLOCK_CALLS = {"datetime.now", "datetime.utcnow", "datetime.today", "date.today", "system_clock"}


def check_pure(package: str) -> None:
    """No I/O, no time, no chance, no logs; and nothing of ours that has them."""
    for path in (PRODUCT / package).glob("*.py"):
        roots = {module.split(".")[0] for module, _ in imports_of(path)}
        assert not roots & IMPURE, f"{path.name} imports {roots & IMPURE}"
        assert not calls_of(path) & CLOCK_CALLS, path.name
    for other in package_imports()[package] - {"errors"}:
        assert "Pure" in promises_of(other), f"{package} imports {other}, which is not pure"


def check_knows_no_postgresql(package: str) -> None:
    """Neither the driver nor what uses it."""
    for path in (PRODUCT / package).glob("*.py"):
        assert not any(module.split(".")[0] == "psycopg" for module, _ in imports_of(path)), path.name
    assert not package_imports()[package] & {"postgres", "database"}


def check_reads_no_clock(package: str) -> None:
    """No call of the wall clock or of the machine's other clocks."""
    for path in (PRODUCT / package).glob("*.py"):
        calls = calls_of(path)
        assert not {call for call in calls if call.split(".")[0] == "time"}, path.name
        assert not calls & CLOCK_CALLS, path.name


def check_starts_no_task(package: str) -> None:
    """No nursery is opened."""
    for path in (PRODUCT / package).glob("*.py"):
        assert "trio.open_nursery" not in calls_of(path), path.name


PROMISES: dict[str, Callable[[str], None]] = {
    "Pure": check_pure,
    "Does not know PostgreSQL": check_knows_no_postgresql,
    "Reads no clock": check_reads_no_clock,
    "Starts no task": check_starts_no_task,
}
"""Sentences in a package's docstring, and what checks each."""


def promises_of(package: str) -> set[str]:
    """The promises in the docstring of a package."""
    docstring = ast.get_docstring(tree_of(PRODUCT / package / "__init__.py")) if package in PACKAGES else ""
    return {promise for promise in PROMISES if re.search(rf"(^|\. |\n){promise}[.:,]", docstring or "")}


def calls_of(path: Path) -> set[str]:
    return {ast.unparse(node.func) for node in ast.walk(tree_of(path)) if isinstance(node, ast.Call)}


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_keep_their_promises(package: str) -> None:
    """What a docstring promises about its package is true."""
    for promise in promises_of(package):
        PROMISES[promise](package)


def test_the_core_promises_to_be_pure() -> None:
    """What frames mean is decided without I/O."""
    for package in ("protocol", "facts", "subscriptions", "rawblocks", "storage"):
        assert set(PROMISES) == promises_of(package)


def test_the_simulator_is_independent_of_the_recorder() -> None:
    """A mistake in the recorder's reading of the protocol can't cancel itself out in the simulator."""
    assert package_imports()["simulator"] <= {"errors", "clock", "exchange"}


@pytest.mark.parametrize("path", MODULES, ids=id_of)
def test_sql_is_in_one_package(path: Path) -> None:
    """Only `database` has statements for PostgreSQL in it; the settings of a session are the driver's."""
    if name_of(path) == "database" or path == PRODUCT / "postgres" / "_session_settings.py":
        return
    docstrings = {id(docstring_node(node)) for node in ast.walk(tree_of(path))}
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            assert not SQL.match(node.value), f"line {node.lineno}: {node.value[:60]}"


def docstring_node(node: ast.AST) -> ast.AST | None:
    body = getattr(node, "body", None)
    if isinstance(body, list) and body and isinstance(body[0], ast.Expr):
        value: ast.AST = body[0].value
        return value
    return None


def test_verify_imports_no_web_server() -> None:
    """A command imports what it needs and no more."""
    program = (
        "import sys; from click.testing import CliRunner; from collector.cli import main;"
        "assert CliRunner().invoke(main, ['verify', '--help']).exit_code == 0;"
        "print(*sorted(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=60
    )
    loaded = {module.split(".")[0] for module in done.stdout.split()}
    assert not loaded & {"hypercorn", "quart", "quart_trio", "trio_websocket", "httpx2", "prometheus_client"}
    assert "collector.simulator" not in done.stdout.split()


# ---------------------------------------------------------------- habits


@pytest.mark.parametrize("path", MODULES, ids=id_of)
def test_modules_and_functions_are_short(path: Path) -> None:
    """A module says one thing, and a function fits on a screen."""
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MODULE_LINES_MAX
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            assert lines <= FUNCTION_LINES_MAX, node.name


@pytest.mark.parametrize("path", MODULES, ids=id_of)
def test_few_arguments_are_positional(path: Path) -> None:
    """A reader does not count commas: functions take few arguments by position, and calls give few."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            arguments = [argument.arg for argument in (*node.args.posonlyargs, *node.args.args)]
            arguments = arguments[1:] if arguments[:1] in (["self"], ["cls"]) else arguments
            assert len(arguments) <= POSITIONAL_MAX, f"line {node.lineno}: {node.name}"
        elif isinstance(node, ast.Call):
            assert len(node.args) <= POSITIONAL_MAX, f"line {node.lineno}: {ast.unparse(node.func)}"


def statements_of(handler: ast.ExceptHandler) -> Iterator[ast.AST]:
    """Everything that runs in a handler: functions that are only defined there run elsewhere."""
    waiting: list[ast.AST] = list(handler.body)
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            waiting.extend(ast.iter_child_nodes(node))


@pytest.mark.parametrize("path", MODULES, ids=id_of)
def test_nothing_is_raised_in_a_handler_of_groups(path: Path) -> None:
    """
    An `except*` block remembers what it caught; what follows from it is raised after the block.

    An exception that is raised inside it reaches the caller in a group before Python 3.11.4, and alone since.
    """
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.TryStar):
            found = [inner for handler in node.handlers for inner in statements_of(handler)]
            raising = [
                inner.lineno
                for inner in found
                if isinstance(inner, ast.Raise)
                or (isinstance(inner, ast.Call) and ast.unparse(inner.func) == "sys.exit")
            ]
            assert not raising, f"raises in an except* block, line {raising[0]}"


def test_groups_are_opened_in_one_place() -> None:
    """How deep a group is nested depends on the nurseries on the way: only `leaves_of` looks inside one."""
    for path in MODULES:
        if path.name != "errors.py":
            names = {node.attr for node in ast.walk(tree_of(path)) if isinstance(node, ast.Attribute)}
            assert "exceptions" not in names, path


def test_environment_is_read_in_one_place() -> None:
    """Only the settings look at the environment."""
    readers = {str(path.relative_to(PRODUCT)) for path in MODULES if "os.environ" in path.read_text("utf-8")}
    assert readers == {"config.py"}


def test_clocks_are_read_in_one_place() -> None:
    """A module that needs the time is given a clock; Trio's clock is for waiting and for deadlines."""
    for path in MODULES:
        assert not calls_of(path) & {"datetime.now", "datetime.utcnow", "datetime.today", "date.today"}, path
        if path.name != "clock.py":
            assert "time" not in {module for module, _ in imports_of(path)}, path


def test_the_map_of_packages_is_complete() -> None:
    """The product's docstring names every package, and each module says what it is for."""
    package_map = ast.get_docstring(tree_of(PRODUCT / "__init__.py")) or ""
    for package in PACKAGES:
        assert f"`{package}`" in package_map
    for path in MODULES:
        assert ast.get_docstring(tree_of(path)), path


def main() -> None:
    """Print the imports between packages, lowest layer first."""
    graph = package_imports()
    for names in LAYERS:
        for name in sorted(names):
            others = ", ".join(sorted(graph.get(name, ()))) or "nothing of ours"
            sys.stdout.write(f"{name}: {others}\n")
    try:
        graphlib.TopologicalSorter(module_imports()).prepare()
    except graphlib.CycleError as error:
        sys.stdout.write(f"cycle: {' -> '.join(error.args[1])}\n")
        sys.exit(1)
    sys.stdout.write("no cycles\n")


if __name__ == "__main__":
    main()
