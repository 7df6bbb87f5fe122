"""The house itself: which way imports run, how long things are, what is nowhere called."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "collector"
MODULES = sorted(PACKAGE.rglob("*.py"))
ROOM_BY_FLOOR = [
    {"errors"},
    {"protocol"},
    {"clock", "supervise"},
    {"observe"},
    {"exchange", "store"},
    {"session", "web", "simulator", "recording", "config"},
    {"app"},
    {"demo"},
    {"cli"},
    {"__main__"},
]
"""From the ground up. A room imports from floors below, and from itself."""

FUNCTION_LINES_MAX = 70
MODULE_LINES_MAX = 500


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def floor_of(room: str) -> int:
    return next(floor for floor, rooms in enumerate(ROOM_BY_FLOOR) if room in rooms)


def imports_of(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def rooms_imported(path: Path) -> set[str]:
    parts = [name.split(".") for name in imports_of(path)]
    return {part[1] for part in parts if part[0] == "collector" and len(part) > 1}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_run_one_way(path: Path) -> None:
    """A room knows only rooms on floors below its own."""
    room = room_of(path)
    if room == "__init__":
        return
    for other in rooms_imported(path) - {room}:
        assert floor_of(other) < floor_of(room), f"{path.name} imports {other}"


@pytest.mark.parametrize(
    "path", [path for path in MODULES if room_of(path) == "protocol"], ids=lambda path: path.name
)
def test_protocol_is_free_of_io(path: Path) -> None:
    """What the exchange means is decided without Trio, clock, chance, logs, network or disk."""
    forbidden = {
        "trio",
        "time",
        "datetime",
        "random",
        "logging",
        "structlog",
        "socket",
        "os",
        "pathlib",
        "psycopg",
    }
    assert not {name.split(".")[0] for name in imports_of(path)} & forbidden


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_modules_and_functions_are_short(path: Path) -> None:
    """A module says one thing, and a function fits on a screen."""
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MODULE_LINES_MAX
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            assert lines <= FUNCTION_LINES_MAX, node.name


def statements_of(handler: ast.ExceptHandler) -> Iterator[ast.AST]:
    """Everything that runs in a handler: functions that are only defined there run elsewhere."""
    waiting: list[ast.AST] = list(handler.body)
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            waiting.extend(ast.iter_child_nodes(node))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_is_raised_in_a_handler_of_groups(path: Path) -> None:
    """
    An `except*` block remembers what it caught; what follows from it is raised after the block.

    An exception that is raised inside it reaches the caller in a group before Python 3.11.4, and alone since.
    """
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
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
            names = {
                node.attr
                for node in ast.walk(ast.parse(path.read_text("utf-8")))
                if isinstance(node, ast.Attribute)
            }
            assert "exceptions" not in names, path


def test_environment_is_read_in_one_place() -> None:
    """Only the settings look at the environment."""
    readers = {str(path.relative_to(PACKAGE)) for path in MODULES if "os.environ" in path.read_text("utf-8")}
    assert readers == {"config.py"}


def test_wall_clock_is_read_in_one_place() -> None:
    """Whoever needs the time is given a clock."""
    for path in MODULES:
        calls = {
            ast.unparse(node.func)
            for node in ast.walk(ast.parse(path.read_text("utf-8")))
            if isinstance(node, ast.Call)
        }
        if path.name != "clock.py":
            assert not calls & {"time.time", "time.time_ns", "datetime.now", "datetime.utcnow"}, path


def test_package_says_which_rooms_there_are() -> None:
    """The map in the package's docstring names every room, and each room says what it is for."""
    package_map = ast.get_docstring(ast.parse((PACKAGE / "__init__.py").read_text("utf-8"))) or ""
    for room in {path.parent.name for path in MODULES if path.parent != PACKAGE}:
        assert f"`{room}`" in package_map
    for path in MODULES:
        assert ast.get_docstring(ast.parse(path.read_text("utf-8"))), path
