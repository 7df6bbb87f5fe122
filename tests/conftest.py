"""
Fixtures that the tests of several rooms share.

The tests of the store run on a real PostgreSQL: the embedded one, started once for the whole run in a folder
of its own. `RL_TEST_DATABASE_URL` names another server instead, on which databases may be created and
dropped. Each test gets an empty database of its own.

`RL_FRAMES_DIR` names the folder of recorded frames, which are not part of the project; without it the folder
`../shared/frames` beside the repository is looked at.
"""

import os
import socket
import uuid
from collections.abc import Callable, Generator
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest
import structlog
from hypothesis import settings as hypothesis_settings
from psycopg import sql

from tests.clusters import PROGRAMS_15, Cluster, open_folder, programs_18, running
from tests.databases import new_database, open_server
from tests.tcp_proxy import change_url

# How long an example takes says more about the machine than about the code.
hypothesis_settings.register_profile("house", deadline=None)
hypothesis_settings.load_profile("house")

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def forgotten_log_settings() -> Generator[None]:
    """Where a command has sent its log is nothing that the next test should know."""
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def server_url() -> Generator[str]:
    """A PostgreSQL server for the whole test run, as the URL of a database to connect to."""
    with open_server() as url:
        yield url


@pytest.fixture
def database_url(server_url: str) -> Generator[str]:
    """An empty database for one test, dropped after it even when connections to it are left."""
    with new_database(server_url) as url:
        yield url


@pytest.fixture
def make_database(server_url: str) -> Generator[Callable[[], str]]:
    """Makes empty databases, for a test that needs several; all are dropped after it."""
    with ExitStack() as databases:
        yield lambda: databases.enter_context(new_database(server_url))


@pytest.fixture(scope="session")
def postgres_15_server_url() -> Generator[str]:
    """A PostgreSQL 15, the oldest version that the schema must work on, for the whole test run."""
    if not (PROGRAMS_15 / "initdb").exists():
        pytest.skip("PostgreSQL 15 is not installed")
    with open_folder(PROGRAMS_15) as cluster:
        cluster.create("--encoding=utf8")
        with running(cluster):
            yield cluster.url


@pytest.fixture(params=["15", "18"])
def each_database_url(request: pytest.FixtureRequest) -> Generator[str]:
    """An empty database on the oldest and on the newest PostgreSQL, one after the other."""
    server = "postgres_15_server_url" if request.param == "15" else "server_url"
    with new_database(request.getfixturevalue(server)) as url:
        yield url


@pytest.fixture(params=["15", "18"])
def cluster(request: pytest.FixtureRequest) -> Generator[Cluster]:
    """A server of the test's own, running, of the oldest and of the newest PostgreSQL."""
    programs = PROGRAMS_15 if request.param == "15" else programs_18()
    if not (programs / "initdb").exists():
        pytest.skip(f"PostgreSQL {request.param} is not installed")
    with open_folder(programs) as made:
        made.create("--encoding=utf8", "--no-locale")
        with running(made):
            yield made


@pytest.fixture
def postgres_15_url(postgres_15_server_url: str) -> Generator[str]:
    """An empty database on PostgreSQL 15; skipped where that is not installed."""
    with new_database(postgres_15_server_url) as url:
        yield url


@pytest.fixture
def new_role(database_url: str) -> Generator[tuple[str, str]]:
    """A role without any rights of its own: its name, and its URL of the database."""
    name = f"recorder_{uuid.uuid4().hex[:8]}"
    role = sql.Identifier(name)
    with psycopg.connect(database_url, autocommit=True) as owner:
        owner.execute(sql.SQL("CREATE ROLE {} LOGIN").format(role))
        owner.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
        yield name, change_url(database_url, user=name)
        owner.execute(sql.SQL("REASSIGN OWNED BY {} TO CURRENT_USER").format(role))
        owner.execute(sql.SQL("DROP OWNED BY {}").format(role))
        owner.execute(sql.SQL("DROP ROLE {}").format(role))


@pytest.fixture(scope="session")
def frames_dir() -> Path:
    """The folder of recorded frames; tests that need it are skipped where it is missing."""
    folder = Path(os.environ.get("RL_FRAMES_DIR") or REPOSITORY.parent / "shared" / "frames")
    if not folder.is_dir():
        pytest.skip("the recorded frames are not here: set RL_FRAMES_DIR to their folder")
    return folder


@pytest.fixture
def refusing_port() -> Generator[int]:
    """A port that is taken but not listened on, so that nobody else can answer there."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]
