// The dashboard: one WebSocket that brings `stats` each second, and the page that shows them.
//
// Numbers are shown as they come. When they stop coming, for whatever reason, the page says so within two
// seconds and keeps the last ones greyed, with their time. Text is only ever set as text, never as markup.

"use strict";

const STALE_MS = 1800;
const CHECK_MS = 250;
const SILENCE_MS_MAX = 10000; // No statistics for so long on an open connection: it is dead, make a new one.
const BACKOFF_MS_FIRST = 500;
const BACKOFF_MS_MAX = 15000;
const STABLE_MS = 5000;
const CHART_SECONDS = 120;
const CHART_SECONDS_MIN = 30; // A page that has just been opened shows its first points as a line, not a speck.

const $ = (id) => document.getElementById(id);
const count = new Intl.NumberFormat("en-US");
const tenths = new Intl.NumberFormat("en-US", { minimumFractionDigits: 1, maximumFractionDigits: 1 });
const clockTime = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const dayAndTime = new Intl.DateTimeFormat("en-GB", {
  day: "2-digit", month: "short", hour: "2-digit", minute: "2-digit", second: "2-digit",
});

const dayAndMinute = new Intl.DateTimeFormat("en-GB", {
  day: "2-digit", month: "short", hour: "2-digit", minute: "2-digit",
});

const page = {
  stats: null,
  receivedMs: 0,   // when the newest statistics came, by performance.now()
  receivedAt: null, // the same on the clock
  openedMs: 0,
  attempts: 0,
  socket: null,
  isOpen: false,
  closeReason: "",
  retryAtMs: 0,
  rates: [],
};

// ---- the connection

function connect() {
  const scheme = location.protocol === "https:" ? "wss:" : "ws:";
  const socket = new WebSocket(`${scheme}//${location.host}/rl/ws?streams=stats`);
  page.socket = socket;
  page.retryAtMs = 0;
  socket.onopen = () => {
    page.isOpen = true;
    page.openedMs = performance.now();
    page.closeReason = "";
    render();
  };
  socket.onmessage = (event) => receive(JSON.parse(event.data));
  socket.onclose = (event) => {
    if (page.socket === socket) {
      lose(event.reason);
    }
  };
  render();
}

function lose(reason) {
  const wasStable = page.isOpen && performance.now() - page.openedMs > STABLE_MS;
  page.attempts = wasStable ? 1 : page.attempts + 1;
  page.isOpen = false;
  page.closeReason = reason || page.closeReason;
  // Full jitter: many pages that lost the same server don't come back at the same moment.
  const ceiling = Math.min(BACKOFF_MS_MAX, BACKOFF_MS_FIRST * 2 ** Math.min(page.attempts, 10));
  const delay = 100 + Math.random() * ceiling;
  page.retryAtMs = performance.now() + delay;
  setTimeout(connect, delay);
  render();
}

function abandon() {
  const socket = page.socket;
  page.socket = null;
  socket.close();
  lose("no statistics came");
}

function receive(message) {
  if (message.type === "stats") {
    page.stats = message.data;
    page.receivedMs = performance.now();
    page.receivedAt = new Date();
    page.rates.push(message.data.messages_per_second);
    page.rates.splice(0, page.rates.length - CHART_SECONDS);
    render();
  } else if (message.type === "error") {
    page.closeReason = message.data.message;
  }
}

function check() {
  const since = Math.max(page.receivedMs, page.openedMs);
  if (page.isOpen && performance.now() - since > SILENCE_MS_MAX) {
    abandon();
  } else if (!page.isOpen || isStale() !== document.body.classList.contains("stale")) {
    render();
  }
}

function isStale() {
  return page.stats !== null && performance.now() - page.receivedMs > STALE_MS;
}

// ---- what is wrong, worst first

const REFUSED_ADVICE =
  "Check KALSHI_API_KEY_ID and its private key, that the key belongs to this KALSHI_ENV, and the machine's clock.";
const DATABASE_ADVICE = "Check that PostgreSQL runs and that DATABASE_URL reaches it.";

function findProblems() {
  const stats = page.stats;
  const found = [];
  const add = (level, title, text) => found.push({ level, title, text });
  if (!page.isOpen && (stats !== null || page.attempts > 0)) {
    add("bad", "No connection to the collector",
      `${page.closeReason ? `${page.closeReason}. ` : ""}This page tries again by itself. ` +
      "If that does not help, check whether the service is running.");
  } else if (isStale()) {
    add("bad", "The collector has stopped answering",
      "The connection is open, but no statistics come. Check the service's load and its log.");
  }
  if (stats === null) {
    if (!found.length) add("wait", "Connecting to the collector", "");
    return found;
  }
  findFeedProblems(stats, add);
  findDatabaseProblems(stats, add);
  findSpoolProblems(stats, add);
  findTimeProblems(stats, add);
  if (stats.stopping) {
    add("warn", "The service is stopping", "What was received is being written. It comes back with the next start.");
  }
  if (!found.length) findCalm(stats, add);
  const ranks = { bad: 0, warn: 1, wait: 2, ok: 3 };
  return found.sort((one, other) => ranks[one.level] - ranks[other.level]);
}

function findFeedProblems(stats, add) {
  const inPhase = (...phases) => stats.feeds.filter((feed) => phases.includes(feed.phase));
  const say = (feeds) => feeds.map((feed) => `${feed.name}: ${feed.reason || words(feed.phase)}`).join("; ");
  const refused = inPhase("refused");
  if (refused.length) {
    add("bad", "The exchange refuses the connection: these markets are not recorded", `${say(refused)}. ${REFUSED_ADVICE}`);
  }
  const waiting = inPhase("waiting_for_store");
  if (waiting.length && stats.database.phase === "starting") {
    add("wait", "Starting: waiting for PostgreSQL", stats.database.reason);
  } else if (waiting.length) {
    add("bad", "Nothing is being recorded: the feed waits for PostgreSQL", `${stats.database.reason || say(waiting)}. ${DATABASE_ADVICE}`);
  }
  const away = inPhase("backing_off");
  if (away.length) {
    add("warn", "Reconnecting to the exchange", `${say(away)}. It tries again by itself; the books are unknown until then.`);
  }
  const connecting = inPhase("connecting");
  if (connecting.length) {
    add("wait", "Connecting to the exchange", connecting.map((feed) => feed.name).join(", "));
  }
  const stopped = inPhase("stopped");
  if (stopped.length && !stats.stopping) {
    add("bad", "A feed has stopped", `${say(stopped)}. Restart the service.`);
  }
}

function findDatabaseProblems(stats, add) {
  const isTold = stats.feeds.some((feed) => feed.phase === "waiting_for_store");
  if (stats.database.phase === "away" && !isTold) {
    const refuge = stats.spool.records ? "into the spool" : "in memory";
    add("warn", `PostgreSQL is away: recording goes on ${refuge}`,
      `${stats.database.reason}. ${count.format(stats.db_queue_size)} frames wait. ${DATABASE_ADVICE}`);
  }
}

function findSpoolProblems(stats, add) {
  if (stats.spool.is_full) {
    add("bad", "The spool is full: receiving has stopped", "Raise RL_SPOOL_MAX_MB, or bring the database back.");
  } else if (stats.spool.failure) {
    add("bad", "The spool's disk fails", stats.spool.failure);
  }
}

function findTimeProblems(stats, add) {
  for (const feed of stats.growing_ages) {
    add("warn", `Messages of ${feed.feed} are getting older`,
      `${tenths.format(feed.age_ms / 1000)} s behind, ${tenths.format(feed.best_ms / 1000)} s at best.`);
  }
}

function findCalm(stats, add) {
  const markets = `${count.format(stats.markets_active)} of ${count.format(stats.markets_tracked)} books are exact`;
  if (stats.session_status !== "active") {
    add("wait", "Starting", "No session yet.");
  } else if (stats.markets_active < stats.markets_tracked) {
    add("wait", "Recording", `${markets}; the others wait for a snapshot.`);
  } else {
    add("ok", "Recording", `${markets}. Everything received is written or on its way.`);
  }
}

// ---- the page

function render() {
  const stale = isStale() || (!page.isOpen && page.stats !== null);
  document.body.classList.toggle("stale", stale);
  renderLink(stale);
  renderProblems();
  setText("as-of", stale ? `as of ${clockTime.format(page.receivedAt)}` : "");
  $("as-of").hidden = !stale;
  if (page.stats !== null) {
    renderNumbers(page.stats);
    renderDatabase(page.stats.database);
    renderSpool(page.stats.spool);
    renderAudits(page.stats);
    renderAges(page.stats.ages_ms);
    renderFeeds(page.stats.feeds);
    renderSessions(page.stats.sessions);
  }
}

function renderLink(stale) {
  let level = "ok";
  let text = "Live";
  if (!page.isOpen) {
    level = page.attempts ? "bad" : "wait";
    text = page.retryAtMs ? "Offline, retrying" : "Connecting";
  } else if (page.stats === null || stale) {
    level = "warn";
    text = "Waiting for numbers";
  }
  $("link").dataset.level = level;
  setText("link-text", text);
}

function renderProblems() {
  const problems = findProblems();
  const text = JSON.stringify(problems);
  if ($("problems").dataset.shown === text) {
    return; // Screen readers would read an unchanged list again.
  }
  $("problems").dataset.shown = text;
  $("banner").dataset.level = problems[0].level;
  $("problems").replaceChildren(...problems.map((problem) => {
    const item = document.createElement("li");
    item.append(element("strong", problem.title));
    if (problem.text) item.append(element("span", problem.text));
    return item;
  }));
  const mark = { ok: "", wait: "", warn: "⚠ ", bad: "✖ " }[problems[0].level];
  document.title = `${mark}${problems[0].title} · Order book collector`;
}

function renderNumbers(stats) {
  $("simulated").hidden = !stats.is_simulated;
  showBadge("environment", stats.is_simulated ? "" : stats.environment);
  showBadge("version", `v${stats.version}`);
  setText("rate", tenths.format(stats.messages_per_second));
  renderChart();
  setText("session-id", stats.session_id || "–");
  setText("session-status", words(stats.session_status));
  setText("markets", count.format(stats.markets_active));
  setText("markets-sub", `of ${count.format(stats.markets_tracked)} tracked`);
  setText("snapshots", count.format(stats.snapshots_processed));
  setText("deltas", count.format(stats.deltas_processed));
  setText("deltas-sub", stats.sample_rate > 1 ? `received; one row in ${stats.sample_rate} kept` : "received");
  setText("rows", count.format(stats.rows_written));
  setText("queue", count.format(stats.db_queue_size));
  $("tile-queue").dataset.level = stats.database.phase === "away" && stats.db_queue_size ? "warn" : "";
  setText("gaps", count.format(stats.gaps));
  setText("rejects", count.format(stats.rejects));
  $("tile-rejects").dataset.level = stats.rejects ? "warn" : "";
  setText("write", stats.write_ms_last === null ? "–" : `${tenths.format(stats.write_ms_last)} ms`);
  setText("write-sub", stats.write_ms_max === null ? "" : `at most ${tenths.format(stats.write_ms_max)} ms`);
  setText("updated", stats.last_update_ms === null ? "–" : clockTime.format(stats.last_update_ms));
  setText("updated-sub", stats.message_age_ms === null ? "no message yet" : `${duration(stats.message_age_ms / 1000)} ago`);
  setText("uptime", duration(stats.uptime_seconds));
  setText("uptime-sub", `since ${dayAndMinute.format(stats.server_time_ms - stats.uptime_seconds * 1000)}`);
  setText("reconnections", count.format(stats.reconnections));
  setText("clients", `${count.format(stats.clients)} live ${stats.clients === 1 ? "viewer" : "viewers"}`);
}

function renderChart() {
  const rates = page.rates;
  const top = Math.max(1, ...rates) * 1.1;
  const step = 240 / (Math.max(CHART_SECONDS_MIN, rates.length) - 1);
  const points = rates.map((rate, index) => {
    const x = 240 - (rates.length - 1 - index) * step;
    return `${x.toFixed(2)},${(47 - (rate / top) * 46).toFixed(2)}`;
  });
  const line = points.length > 1 ? `M${points.join("L")}` : "";
  const left = (240 - (rates.length - 1) * step).toFixed(2);
  $("chart-line").setAttribute("d", line);
  $("chart-area").setAttribute("d", line ? `${line}L240,48L${left},48Z` : "");
  setText("chart-sub", rates.length > 1
    ? `mean of 10 s, last ${duration(rates.length)}, peak ${tenths.format(Math.max(...rates))}`
    : "mean of 10 s");
}

function renderDatabase(database) {
  const level = { available: "ok", starting: "wait", away: "warn" }[database.phase] || "wait";
  $("database-state").dataset.level = level;
  setText("database-state", words(database.phase));
  const since = database.since ? `since ${moment(database.since)}` : "";
  setText("database-reason", [since, database.reason].filter(Boolean).join(": "));
}

function renderSpool(spool) {
  const isStuck = spool.is_full || spool.failure !== "";
  $("spool-state").dataset.level = isStuck ? "bad" : spool.records || spool.damaged_files ? "warn" : "ok";
  setText("spool-state", spool.is_full ? "spool full" : spool.failure ? "spool failed" : spool.records ? "spool in use" : "spool empty");
  setText("spool-text", [
    spool.records ? `${count.format(spool.records)} records, ${megabytes(spool.bytes)} of ${megabytes(spool.bytes_max)}` : "",
    spool.failure,
    spool.torn_records ? `${count.format(spool.torn_records)} torn records` : "",
    spool.damaged_files ? `${count.format(spool.damaged_files)} damaged files` : "",
  ].filter(Boolean).join("; "));
}

function renderAudits(stats) {
  $("audits-state").dataset.level = stats.audit_mismatches ? "bad" : stats.audits ? "ok" : "wait";
  setText("audits-state", stats.audit_mismatches ? "audits found differences" : stats.audits ? "audits agree" : "no audits yet");
  setText("audits-text", stats.audits
    ? `${count.format(stats.audits)} books compared with the exchange's, ${count.format(stats.audit_mismatches)} differed` : "");
}

const AGES = {
  exchange_to_receive: ["exchange to arrival", "the exchange and the network; the two clocks' difference is in it"],
  receive_to_book: ["arrival to book", "this service"],
  receive_to_commit: ["arrival to database", "waiting for a batch, and PostgreSQL"],
};

function renderAges(ages) {
  fill("ages", 4, Object.entries(AGES).map(([name, [from, what]]) =>
    [from, milliseconds(ages[name].p50), milliseconds(ages[name].p99), what]));
}

const FEED_LEVELS = {
  connected: "ok", connecting: "wait", backing_off: "warn", refused: "bad", waiting_for_store: "bad", stopped: "bad",
};

function renderFeeds(feeds) {
  fill("feeds", 6, feeds.map((feed) => [
    feed.name,
    state(words(feed.phase), FEED_LEVELS[feed.phase]),
    moment(feed.since),
    number(feed.markets),
    number(feed.attempts),
    feed.reason,
  ]));
}

function renderSessions(sessions) {
  fill("sessions", 11, [...sessions].reverse().map((session) => [
    session.id === null ? "–" : String(session.id),
    session.feed,
    state(words(session.status), { active: "ok", closed: "wait", error: "warn" }[session.status]),
    moment(session.started),
    session.ended === null ? "" : moment(session.ended),
    number(session.frames_received),
    number(session.frames_written),
    number(session.rows_written),
    number(session.gaps),
    { text: session.write_ms_last === null ? "–" : `${tenths.format(session.write_ms_last)} ms`, isNumber: true },
    session.end_reason || "",
  ]));
}

// ---- small things

function fill(id, columns, rows) {
  const text = JSON.stringify(rows);
  if ($(id).dataset.shown === text) {
    return;
  }
  $(id).dataset.shown = text;
  $(id).replaceChildren(...rows.map((cells) => {
    const row = document.createElement("tr");
    row.append(...cells.map(cell));
    return row;
  }));
  if (!rows.length) {
    const empty = element("td", "none yet");
    empty.colSpan = columns;
    empty.className = "empty";
    $(id).append(document.createElement("tr"));
    $(id).firstChild.append(empty);
  }
}

function cell(content) {
  if (typeof content === "string") {
    return element("td", content);
  }
  if (content.isNumber) {
    const plain = element("td", content.text);
    plain.className = "number";
    return plain;
  }
  const pill = element("span", content.text);
  pill.className = "state";
  pill.dataset.level = content.level || "wait";
  const holder = document.createElement("td");
  holder.append(pill);
  return holder;
}

const state = (text, level) => ({ text, level });
const number = (value) => ({ text: count.format(value), isNumber: true });
const milliseconds = (value) => ({ text: value === null ? "–" : `${tenths.format(value)} ms`, isNumber: true });
const megabytes = (bytes) => `${tenths.format(bytes / 1e6)} MB`;
const moment = (iso) => (iso ? dayAndTime.format(new Date(iso)) : "");
const words = (name) => name.replaceAll("_", " ");

function element(name, text) {
  const made = document.createElement(name);
  made.textContent = text;
  return made;
}

function setText(id, text) {
  if ($(id).textContent !== text) {
    $(id).textContent = text;
  }
}

function showBadge(id, text) {
  $(id).hidden = !text;
  setText(id, text);
}

function duration(seconds) {
  const whole = Math.floor(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  if (whole < 86400) return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
  return `${Math.floor(whole / 86400)} d ${Math.floor((whole % 86400) / 3600)} h`;
}

connect();
setInterval(check, CHECK_MS);
