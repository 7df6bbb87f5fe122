"""
The environment, as one frozen value. The only reader of `os.environ`.

Every problem is found in one pass and told in one line that names the variable and what it must look like.
A secret is never repeated in a problem, nor shown by `repr`. What is set and has no effect is a warning.
"""

import os
import re
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Final, Literal, TypeVar, cast
from urllib.parse import urlsplit

from attrs import evolve, field, frozen

from collector.errors import ConfigError
from collector.pasting import clean, pem_candidates, what_is_odd
from collector.postgres import DEFAULT_SCHEMA, EMBEDDED_PREFIX, check_database_url, secrets_of_url

Environment = Literal["prod", "demo"]
MarketMode = Literal["config", "discovery"]
LogFormat = Literal["json", "console"]

WS_PATH: Final = "/trade-api/ws/v2"
_HOSTS: Final[dict[str, tuple[str, str]]] = {
    "prod": ("external-api-ws.kalshi.com", "external-api.kalshi.com"),
    "demo": ("external-api-ws.demo.kalshi.co", "external-api.demo.kalshi.co"),
}
_TICKER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_DATABASE_URL_SHAPE = "a postgresql:// URL, or embedded:PATH for a PostgreSQL of our own in that folder"
_PREFIXES: Final = ("KALSHI_", "ORDERBOOK_", "RL_")
_TAKEN_SCHEMAS: Final = ("information_schema", "rl_predecessor")
"""Of variables that nobody else would read."""
_VALUE_SHOWN_MAX: Final = 40
_T = TypeVar("_T")


@frozen
class Settings:
    """Everything that can be set. Database URLs and keys don't show in `repr`."""

    api_key_id: str = field(repr=False)
    private_key_pem: str = field(repr=False)
    environment: Environment
    ws_url: str
    api_url: str
    market_tickers: tuple[str, ...]
    market_mode: MarketMode
    market_limit: int
    discovery_interval_s: float
    batch_rows: int
    flush_interval_s: float
    sample_rate: int
    audit_interval_s: float
    silence_probe_s: float
    database_url: str = field(repr=False)
    database_url_pooled: str | None = field(repr=False)
    database_schema: str
    host: str | None
    port: int
    admin_token: str | None = field(repr=False)
    allowed_origins: tuple[str, ...]
    spool_dir: Path
    spool_mb_max: int
    rewrite_window_s: float
    log_level: str
    log_format: LogFormat | None
    rows_retention_days: int | None
    raw_retention_days: int | None
    warnings: tuple[str, ...] = ()
    """What is set and has no effect, in words."""

    @property
    def secrets(self) -> tuple[str, ...]:
        """Values that must not be shown: see `collector.scrubbing`."""
        urls = (self.database_url, self.database_url_pooled or "")
        of_urls = [secret for url in urls for secret in secrets_of_url(url)]
        key_lines = [line for line in self.private_key_pem.splitlines() if not line.startswith("-----")]
        return (*of_urls, self.admin_token or "", self.api_key_id, *key_lines)


@frozen
class DatabaseSettings:
    """The URL of a database, and the PostgreSQL schema in it that holds the tables."""

    url: str = field(repr=False)
    schema: str


class _Reader:
    """Reads variables one by one and collects what is wrong with them."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._known: set[str] = set()
        self.problems: list[str] = []
        self.warnings: list[str] = []

    def text(self, name: str) -> str | None:
        """The value without surrounding spaces and quotes; an empty one counts as not set."""
        return self._cleaned(name, is_multiline=False)

    def lines(self, name: str) -> str | None:
        """The same of a value that may have several lines."""
        return self._cleaned(name, is_multiline=True)

    def items(self, name: str) -> tuple[str, ...]:
        """The values of a list: separated by commas or lines, each perhaps in quotes of its own."""
        found = map(clean, re.split(r"[,\r\n]", self._raw(name)))
        return tuple(dict.fromkeys(item for item in found if item and self._is_meant(name, item)))

    def is_set(self, name: str) -> bool:
        """Whether there is any value."""
        return bool(self._raw(name))

    def _raw(self, name: str) -> str:
        self._known.add(name)
        return clean(self._environ.get(name, ""))

    def _cleaned(self, name: str, *, is_multiline: bool) -> str | None:
        value = self._raw(name)
        return value if value and self._is_meant(name, value, is_multiline=is_multiline) else None

    def _is_meant(self, name: str, value: str, *, is_multiline: bool = False) -> bool:
        odd = what_is_odd(value, is_multiline=is_multiline)
        if odd is not None:
            self.problem(name, odd)
        return odd is None

    def problem(self, name: str, must: str) -> None:
        """Note what is wrong with a variable: the first problem of each counts."""
        if not self.has_problem(name):
            self.problems.append(f"{name} {must}")

    def has_problem(self, name: str) -> bool:
        """Whether a problem of this variable is known."""
        return any(problem.startswith(f"{name} ") for problem in self.problems)

    def unknown(self) -> list[str]:
        """Of all that looks as if it were for this program and was not read, a line each; call it last."""
        lines: list[str] = []
        for name in sorted(self._environ.keys() - self._known):
            if name.startswith(_PREFIXES):
                close = get_close_matches(name, sorted(self._known), 1, 0.8)
                hint = f": did you mean {close[0]}?" if close else ""
                lines.append(f"{name} is not known and has no effect{hint}")
        return lines

    def warn_if_set(self, name: str, why: str) -> None:
        """Note a variable that has no effect beside others."""
        if self.is_set(name):
            self.warnings.append(f"{name} has no effect: {why}")

    def parsed(
        self,
        name: str,
        default: _T,
        parse: Callable[[str], _T | None],
        must: str,
        *,
        is_shown: bool = True,
    ) -> _T:
        """
        The parsed value; where `parse` gives None or fails, a problem and the default.

        The problem repeats the value unless it may hold a secret, which not `is_shown` says.
        """
        text = self.text(name)
        if text is None:
            return default
        try:
            value = parse(text)
        except ValueError:
            value = None
        if value is None:
            shown = f", not {text[:_VALUE_SHOWN_MAX]!r}" if is_shown else ""
            self.problem(name, f"must be {must}{shown}")
            return default
        return value

    def integer(self, name: str, default: int, low: int, high: int) -> int:
        return self.parsed(
            name,
            default,
            lambda text: _within(int(text), low, high) if text.isascii() and text.isdigit() else None,
            f"a whole number from {low} to {high}",
        )

    def choice(self, name: str, default: str, choices: tuple[str, ...]) -> str:
        return self.parsed(
            name, default, lambda text: text if text in choices else None, f"one of: {', '.join(choices)}"
        )


def read_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """Read all settings. Raises ConfigError with a line for each problem."""
    reader = _Reader(os.environ if environ is None else environ)
    environment = cast("Environment", reader.choice("KALSHI_ENV", "prod", ("prod", "demo")))
    tickers = _read_tickers(reader)
    mode = _read_market_mode(reader, tickers)
    settings = Settings(
        api_key_id=_read_key_id(reader),
        private_key_pem=_read_private_key(reader),
        environment=environment,
        ws_url=_read_url(reader, "KALSHI_WS_URL", ("ws", "wss"), f"wss://{_HOSTS[environment][0]}{WS_PATH}"),
        api_url=_read_url(
            reader, "KALSHI_API_URL", ("http", "https"), f"https://{_HOSTS[environment][1]}/trade-api/v2"
        ),
        market_tickers=tickers if mode == "config" else (),
        market_mode=mode,
        market_limit=reader.integer("ORDERBOOK_MARKET_LIMIT", 300, 1, 100_000),
        discovery_interval_s=_read_seconds(reader, "RL_DISCOVERY_INTERVAL", 60.0, 1.0, 86_400.0),
        batch_rows=reader.integer("RL_BATCH_SIZE", 100, 1, 100_000),
        flush_interval_s=_read_seconds(reader, "RL_FLUSH_INTERVAL", 1.0, 0.01, 3600.0),
        sample_rate=reader.integer("RL_SAMPLE_RATE", 1, 1, 1_000_000),
        audit_interval_s=_read_seconds(reader, "RL_AUDIT_INTERVAL", 900.0, 0.0, 86_400.0),
        silence_probe_s=_read_seconds(reader, "RL_SILENCE_PROBE", 60.0, 0.0, 86_400.0),
        database_url=_read_database_url(reader, "DATABASE_URL", is_required=True) or "",
        database_url_pooled=_read_database_url(reader, "DATABASE_URL_POOLED", is_required=False),
        database_schema=_read_schema(reader),
        host=_read_host(reader),
        port=reader.integer("PORT", 8001, 1, 65_535),
        admin_token=_read_admin_token(reader),
        allowed_origins=_read_origins(reader),
        spool_dir=Path(reader.text("RL_SPOOL_DIR") or "spool"),
        spool_mb_max=reader.integer("RL_SPOOL_MAX_MB", 2048, 1, 10_000_000),
        rewrite_window_s=_read_seconds(reader, "RL_REWRITE_WINDOW", 60.0, 0.0, 3600.0),
        log_level=reader.choice("RL_LOG_LEVEL", "INFO", ("DEBUG", "INFO", "WARNING", "ERROR")),
        log_format=_read_log_format(reader),
        rows_retention_days=_read_retention(reader, "RL_ROWS_RETENTION_DAYS"),
        raw_retention_days=_read_retention(reader, "RL_RAW_RETENTION_DAYS"),
    )
    unknown = reader.unknown()
    if reader.problems:
        raise ConfigError((*reader.problems, *unknown))
    return evolve(settings, warnings=(*reader.warnings, *unknown))


def read_database(environ: Mapping[str, str] | None = None) -> DatabaseSettings:
    """Which database, for the commands that need nothing else. Raises ConfigError."""
    reader = _Reader(os.environ if environ is None else environ)
    url = _read_database_url(reader, "DATABASE_URL", is_required=True)
    schema = _read_schema(reader)
    if url is None or reader.problems:
        raise ConfigError(tuple(reader.problems))
    return DatabaseSettings(url, schema)


def _read_key_id(reader: _Reader) -> str:
    name = "KALSHI_API_KEY_ID"
    key_id = reader.text(name)
    if key_id is None:
        reader.problem(name, "is required: the id of a Kalshi API key")
    elif not key_id.isascii() or not key_id.isprintable() or " " in key_id:
        reader.problem(name, "must be the id of a Kalshi API key, printable ASCII without spaces")
    return key_id or ""


def _read_private_key(reader: _Reader) -> str:
    content_name, path_name = "KALSHI_PRIVATE_KEY_CONTENT", "KALSHI_PRIVATE_KEY_PATH"
    content, path = reader.lines(content_name), reader.text(path_name)
    if content is None and path is None:
        must = f"or {path_name} is required: the PEM text of the private key, or a file with it"
        if not reader.has_problem(path_name):
            reader.problem(content_name, must)
        return ""
    if content is not None:
        reader.warn_if_set(path_name, f"{content_name} is set too, and comes first")
        name = content_name
    else:
        name = path_name
        try:
            content = clean(Path(cast("str", path)).expanduser().read_text(encoding="utf-8-sig"))
        except (OSError, UnicodeDecodeError, ValueError):
            reader.problem(name, "must be the path of a readable file with a PEM private key")
            return ""
    # Imported here: commands that read a recording need no key, and no WebSocket library.
    from collector.exchange import is_usable_key

    for pem in pem_candidates(content):
        if is_usable_key(pem):
            return pem
    reader.problem(name, "must hold a PEM private key, RSA or Ed25519, without a passphrase")
    return ""


def _read_url(reader: _Reader, name: str, schemes: tuple[str, ...], default: str) -> str:
    def parse(text: str) -> str | None:
        parts = urlsplit(text)
        _ = parts.port
        if parts.scheme not in schemes or not parts.hostname or "@" in parts.netloc:
            return None
        path = parts.path.rstrip("/") or urlsplit(default).path
        return f"{parts.scheme}://{parts.netloc}{path}"

    must = f"a URL that begins with {' or '.join(schemes)}:// and holds no user or password"
    return reader.parsed(name, default, parse, must, is_shown=False)


def _read_tickers(reader: _Reader) -> tuple[str, ...]:
    name = "RL_MARKET_TICKERS"
    tickers = reader.items(name)
    if reader.is_set(name) and not tickers:
        shown = (reader.lines(name) or "")[:_VALUE_SHOWN_MAX]
        reader.problem(name, f"must be tickers separated by commas, not {shown!r}")
    wrong = [ticker for ticker in tickers if not _TICKER.fullmatch(ticker)]
    if wrong:
        shown = ", ".join(repr(ticker[:_VALUE_SHOWN_MAX]) for ticker in wrong[:3])
        reader.problem(name, f"must be tickers separated by commas; not a ticker: {shown}")
    return tickers


def _read_market_mode(reader: _Reader, tickers: tuple[str, ...]) -> MarketMode:
    name = "RL_MARKET_MODE"
    # A mode that is not a mode is told once, not again as missing tickers.
    is_wrong = reader.text(name) not in (None, "config", "discovery")
    mode = cast(
        "MarketMode",
        reader.choice(name, "config" if tickers else "discovery", ("config", "discovery")),
    )
    if mode == "config" and not reader.is_set("RL_MARKET_TICKERS") and not is_wrong:
        reader.problem(
            "RL_MARKET_TICKERS", "is required by RL_MARKET_MODE=config: tickers separated by commas"
        )
    if mode == "discovery":
        reader.warn_if_set("RL_MARKET_TICKERS", "RL_MARKET_MODE=discovery finds the markets")
    else:
        for unused in ("ORDERBOOK_MARKET_LIMIT", "RL_DISCOVERY_INTERVAL"):
            reader.warn_if_set(unused, "RL_MARKET_TICKERS names the markets")
    return mode


def _read_seconds(reader: _Reader, name: str, default: float, low: float, high: float) -> float:
    def parse(text: str) -> float | None:
        return float(text) if re.fullmatch(r"[0-9]*\.?[0-9]+", text) and low <= float(text) <= high else None

    return reader.parsed(name, default, parse, f"a number of seconds from {low:g} to {high:g}")


def _read_database_url(reader: _Reader, name: str, *, is_required: bool) -> str | None:
    url = reader.text(name)
    if url is None:
        if is_required:
            reader.problem(name, f"is required: {_DATABASE_URL_SHAPE}")
        return None
    problem = check_database_url(url)
    if problem is None and not is_required and url.startswith(EMBEDDED_PREFIX):
        problem = "must be a postgresql:// URL: an embedded PostgreSQL has no pooler"
    if problem is not None:
        reader.problem(name, problem)
    return url


def _read_schema(reader: _Reader) -> str:
    def parse(text: str) -> str | None:
        is_taken = text.startswith("pg_") or text in _TAKEN_SCHEMAS
        return text if re.fullmatch(r"[a-z_][a-z0-9_]{0,62}", text) and not is_taken else None

    must = "a schema's name: up to 63 small letters, digits and _, not beginning with a digit or pg_, and not"
    return reader.parsed("RL_DATABASE_SCHEMA", DEFAULT_SCHEMA, parse, f"{must} {' or '.join(_TAKEN_SCHEMAS)}")


def _read_host(reader: _Reader) -> str | None:
    def parse(text: str) -> str | None:
        return text if re.fullmatch(r"[A-Za-z0-9.:_-]{1,253}", text) else None

    return reader.parsed("HOST", None, parse, "a host name or an IP address", is_shown=False)


def _read_admin_token(reader: _Reader) -> str | None:
    name = "RL_ADMIN_TOKEN"
    token = reader.text(name)
    if token is not None and (len(token) < 16 or not token.isascii() or " " in token):
        reader.problem(name, "must be at least 16 ASCII characters without spaces")
    return token


def _read_origins(reader: _Reader) -> tuple[str, ...]:
    name = "RL_ALLOWED_ORIGINS"
    origins = tuple(item.rstrip("/") for item in reader.items(name))
    for origin in origins:
        try:
            parts = urlsplit(origin)
        except ValueError:
            parts = urlsplit("")
        if parts.scheme not in ("http", "https") or not parts.netloc or parts.path or parts.query:
            reader.problem(name, "must be origins such as https://example.com, separated by commas")
            break
    return origins


def _read_log_format(reader: _Reader) -> LogFormat | None:
    text = reader.choice("RL_LOG_FORMAT", "", ("json", "console"))
    return cast("LogFormat", text) if text else None


def _read_retention(reader: _Reader, name: str) -> int | None:
    return reader.integer(name, 0, 1, 36_500) or None


def _within(value: int, low: int, high: int) -> int | None:
    return value if low <= value <= high else None
