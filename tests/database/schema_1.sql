-- The one definition of what the collector keeps, for an empty PostgreSQL schema; PostgreSQL 15 to 18. A database that
-- has tables already gets the migrations that it lacks: see docs/decisions/0016. `collector schema` does either.
--
-- Prices are integers in 1/10,000 dollar (price_e4), sizes in 1/100 contract (size_e2). Exchange time is in
-- milliseconds (timestamp_ms), receive time in microseconds (received_us), both since 1970 UTC.
--
-- Rows are small because storage is the main cost of a recorder: the tables *_rows name a market by a number and
-- leave out what can be derived; the views with the full names put both back.

-- Everything below is made in the first schema of the search path; each function has that schema as its search path.
SELECT set_config('search_path', quote_ident(current_schema()) || ', pg_temp', false);

-- One row for each version of this definition that the database has had; the highest is its current one. A program may
-- use the database if it knows version `oldest_program` or a newer one.
CREATE TABLE rl_schema_versions (
    version         integer PRIMARY KEY,
    oldest_program  integer NOT NULL CHECK (oldest_program <= version),
    applied_at      timestamptz NOT NULL DEFAULT now(),
    applied_by      text NOT NULL DEFAULT current_user
);

-- Which database this is: given when the tables are made. A backup that is restored has that of its original.
CREATE TABLE rl_database (
    is_only_row     boolean PRIMARY KEY DEFAULT true CHECK (is_only_row),
    database_key    uuid NOT NULL DEFAULT gen_random_uuid(),
    newest_entry    bigint NOT NULL DEFAULT 0   -- of rl_chain
);

INSERT INTO rl_database DEFAULT VALUES;

-- What can't be undone, in order: each opening and ending of a session, each batch that filled a hole in its ledger, each
-- drop and summary of retention, each rebuild of rows, and what `verify --record` has proven. The hash of an entry covers the hash of the entry before it and all
-- its own columns: see docs/proof.md. So the hash of the newest entry, kept elsewhere, proves all entries.
CREATE TABLE rl_chain (
    entry_number    bigint PRIMARY KEY,         -- from 1 on, without a hole
    kind            text NOT NULL
                    CHECK (kind IN ('opening', 'ending', 'presumed', 'late', 'rebuild', 'drop', 'summary', 'proof')),
    session_key     uuid,                       -- null: not about a session
    ledger_hash     bytea,                      -- of the newest row of the session's ledger; null without one
    content         text NOT NULL,              -- JSON; of an opening and an ending, word for word what the stream holds
    entered_us      bigint NOT NULL,            -- by the database's clock
    hash            bytea NOT NULL
);

CREATE INDEX rl_chain_session ON rl_chain (session_key, entry_number);
CREATE INDEX rl_chain_retention ON rl_chain (entered_us) WHERE session_key IS NULL;

-- Appends an entry, and returns its hash. Entries are appended one at a time: the next one waits for this transaction.
CREATE FUNCTION rl_append(kind text, of_session uuid, ledger_hash bytea, content text) RETURNS bytea
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    own     rl_database;
    last    rl_chain;
    now_us  bigint := (EXTRACT(EPOCH FROM clock_timestamp()) * 1000000)::bigint;
    next_hash bytea;
BEGIN
    INSERT INTO rl_database DEFAULT VALUES ON CONFLICT DO NOTHING;
    SELECT * INTO STRICT own FROM rl_database FOR UPDATE;
    SELECT * INTO last FROM rl_chain ORDER BY entry_number DESC LIMIT 1;
    -- The database's key stands for the hash before the first entry.
    next_hash := sha256(convert_to(concat_ws(E'\n', COALESCE(encode(last.hash, 'hex'), own.database_key::text),
                                             COALESCE(last.entry_number, 0) + 1, kind, COALESCE(of_session::text, ''),
                                             COALESCE(encode(ledger_hash, 'hex'), ''), now_us, content), 'UTF8'));
    INSERT INTO rl_chain VALUES (COALESCE(last.entry_number, 0) + 1, kind, of_session, ledger_hash, content, now_us,
                                 next_hash);
    UPDATE rl_database SET newest_entry = COALESCE(last.entry_number, 0) + 1;
    RETURN next_hash;
END $$;

-- ---------------------------------------------------------------- markets and sessions

CREATE TABLE rl_markets (
    market_id     integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    market_ticker text NOT NULL UNIQUE,
    record        json,                         -- the market as REST tells it, verbatim: the newest one that a session
                                                -- has noted in its stream; null until then
    noted_us      bigint                        -- when it was noted
);

CREATE TABLE rl_orderbook_sessions (
    session_id      integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    session_key     uuid NOT NULL UNIQUE,       -- made by the recorder, so that a repeated insert is recognised
    recorder_key    bigint NOT NULL,            -- advisory lock that the recording process holds while it lives
    market_tickers  text[] NOT NULL,            -- all that it has recorded
    ws_url          text NOT NULL,
    environment     text NOT NULL,
    code_version    text NOT NULL,
    decoder_version integer NOT NULL,           -- of the meaning that its frames have in the rows
    sample_rate     integer NOT NULL CHECK (sample_rate >= 1),
    use_yes_price   boolean NOT NULL,
    started_us      bigint NOT NULL,
    ended_us        bigint,
    status          text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'closed', 'error')),
    end_reason      text,
    close_code      integer,
    frames          bigint NOT NULL DEFAULT 0,
    snapshots       bigint NOT NULL DEFAULT 0,
    deltas          bigint NOT NULL DEFAULT 0,
    trades          bigint NOT NULL DEFAULT 0,
    controls        bigint NOT NULL DEFAULT 0,
    stales          bigint NOT NULL DEFAULT 0,
    rejects         bigint NOT NULL DEFAULT 0,
    gaps            bigint NOT NULL DEFAULT 0,
    batches         bigint NOT NULL DEFAULT 0,
    last_message_us bigint,
    last_frame      bigint,                     -- by the recorder that ended it; null until then
    added_tickers   text[] NOT NULL DEFAULT '{}' -- of the markets, those that the session did not begin with
) WITH (fillfactor = 50);

CREATE INDEX rl_orderbook_sessions_active
    ON rl_orderbook_sessions (recorder_key) WHERE status = 'active';

-- ---------------------------------------------------------------- what the exchange sent, as rows

CREATE TABLE rl_delta_rows (
    received_us     bigint NOT NULL,
    timestamp_ms    bigint,                     -- null when the exchange sent no time
    sequence_number bigint NOT NULL,
    delta_e2        bigint NOT NULL,
    old_size_e2     bigint NOT NULL,
    clock           bigint,                     -- the exchange's; null before October 2026
    session_id      integer NOT NULL,
    sid             integer NOT NULL,
    market_id       integer NOT NULL,
    price_e4        smallint NOT NULL,
    is_yes          boolean NOT NULL
) PARTITION BY RANGE (received_us);

CREATE INDEX rl_delta_rows_market ON rl_delta_rows (market_id, received_us);
-- Questions by exchange time compare with EXTRACT(EPOCH ...), which is numeric: so is this index.
CREATE INDEX rl_delta_rows_time ON rl_delta_rows USING brin ((timestamp_ms::numeric));
CREATE INDEX rl_delta_rows_session ON rl_delta_rows USING brin (session_id, sequence_number);

CREATE TABLE rl_trade_rows (
    received_us     bigint NOT NULL,
    timestamp_ms    bigint,
    sequence_number bigint,                     -- null when the exchange numbered no trades
    count_e2        bigint NOT NULL,
    session_id      integer NOT NULL,
    sid             integer,
    market_id       integer NOT NULL,
    price_e4        smallint NOT NULL,          -- of YES
    is_taker_yes    boolean,
    is_block_trade  boolean,
    trade_id        text NOT NULL
) PARTITION BY RANGE (received_us);

CREATE INDEX rl_trade_rows_market ON rl_trade_rows (market_id, received_us);

CREATE TABLE rl_snapshot_rows (
    received_us     bigint NOT NULL,
    sequence_number bigint NOT NULL,
    clock           bigint,                     -- of the newest change in the book; null before October 2026
    frame_number    bigint NOT NULL,
    session_id      integer NOT NULL,
    sid             integer NOT NULL,
    market_id       integer NOT NULL,
    origin          text NOT NULL CHECK (origin IN ('initial', 'requested', 'unsolicited', 'checkpoint')),
    yes_bids        jsonb NOT NULL,
    no_bids         jsonb NOT NULL,
    digest          bytea NOT NULL
) PARTITION BY RANGE (received_us);

CREATE INDEX rl_snapshot_rows_market ON rl_snapshot_rows (market_id, received_us);
CREATE INDEX rl_snapshot_rows_session ON rl_snapshot_rows (session_id, sequence_number);

CREATE TABLE rl_market_events (
    received_us     bigint NOT NULL,
    timestamp_ms    bigint,
    sequence_number bigint,
    session_id      integer NOT NULL REFERENCES rl_orderbook_sessions,
    sid             integer,
    market_ticker   text NOT NULL,
    event_type      text NOT NULL,
    event           jsonb NOT NULL              -- the exchange's message; NUL characters in it as text
);

CREATE INDEX rl_market_events_market ON rl_market_events (market_ticker, received_us);
CREATE INDEX rl_market_events_session ON rl_market_events (session_id);

-- What happened to a connection besides frames: a step of the wall clock with its size, silence, a stop. And what
-- happened to the database: the recording continued in another one, or batches are lost.
CREATE TABLE rl_connection_events (
    received_us     bigint NOT NULL,
    after_frame     bigint NOT NULL,            -- the number of the last frame before it
    session_id      integer NOT NULL REFERENCES rl_orderbook_sessions,
    event_type      text NOT NULL
                    CHECK (event_type IN ('clock_step', 'silence', 'stop', 'store_changed', 'store_lost')),
    step_us         bigint,                     -- of a clock step; negative: the clock was set back
    detail          text                        -- which database it is, or which batches are lost
);

CREATE INDEX rl_connection_events_session ON rl_connection_events (session_id);

-- ---------------------------------------------------------------- what was missing, and what was checked

CREATE TABLE rl_orderbook_gaps (
    session_id      integer NOT NULL REFERENCES rl_orderbook_sessions,
    sid             integer NOT NULL,
    expected        bigint NOT NULL,            -- the number that should have come
    received        bigint,                     -- the one received instead; null: the subscription ended; equal to
                                                -- expected: no number is missing, but the content can't be trusted
    detected_us     bigint NOT NULL,
    frame_number    bigint NOT NULL,
    cause           text NOT NULL,
    market_ticker   text,                       -- null: all books of the sid
    channel         text                        -- of the sid; null: it was never said
);

CREATE INDEX rl_orderbook_gaps_session ON rl_orderbook_gaps (session_id, sid);

-- From the end of a frame on, a market's book is exact or unknown, until its next row. There is also a row with
-- each snapshot that the exchange sent. Until its first row, a market's book is unknown.
CREATE TABLE rl_book_states (
    received_us     bigint NOT NULL,
    frame_number    bigint NOT NULL,
    session_id      integer NOT NULL REFERENCES rl_orderbook_sessions,
    market_id       integer NOT NULL REFERENCES rl_markets,
    cause           text                        -- why it is unknown; null: it is exact
);

CREATE INDEX rl_book_states_session ON rl_book_states (session_id, market_id, frame_number);

-- Proofs that nothing happened to a market while its book was unknown, until its snapshot in a frame of the session:
-- the snapshot has clock and levels of the exact book before, which is that of a session's frame. See the view
-- rl_proven_empty.
CREATE TABLE rl_proven_empty_rows (
    received_us     bigint NOT NULL,            -- of the snapshot
    from_us         bigint NOT NULL,            -- since when the book was unknown
    frame_number    bigint NOT NULL,            -- of the snapshot
    session_id      integer NOT NULL REFERENCES rl_orderbook_sessions,
    market_id       integer NOT NULL REFERENCES rl_markets,
    earlier_key     uuid NOT NULL,              -- the session of the book before; may be the same one
    earlier_frame   bigint NOT NULL             -- its last frame before
);

CREATE INDEX rl_proven_empty_rows_time ON rl_proven_empty_rows (received_us);
CREATE INDEX rl_proven_empty_rows_session ON rl_proven_empty_rows (session_id);

CREATE TABLE rl_orderbook_rejects (
    session_id      integer NOT NULL REFERENCES rl_orderbook_sessions,
    frame_number    bigint NOT NULL,
    received_us     bigint NOT NULL,
    reason          text NOT NULL,
    frame           bytea NOT NULL,             -- verbatim, UTF-8
    PRIMARY KEY (session_id, frame_number)
);

CREATE TABLE rl_orderbook_audits (
    session_id      integer NOT NULL REFERENCES rl_orderbook_sessions,
    market_ticker   text NOT NULL,
    sid             integer NOT NULL,
    sequence_number bigint NOT NULL,
    received_us     bigint NOT NULL,
    is_match        boolean NOT NULL,
    first_difference text
);

-- ---------------------------------------------------------------- raw frames, and the ledger of committed batches

CREATE TABLE rl_raw_blocks (
    first_received_us bigint NOT NULL,
    last_received_us  bigint NOT NULL,
    first_frame     bigint NOT NULL,
    last_frame      bigint NOT NULL,            -- a block without frames has last_frame = first_frame - 1
    session_id      integer NOT NULL REFERENCES rl_orderbook_sessions,
    batch_number    integer NOT NULL,           -- in the ledger, which has the SHA-256 of the block
    format          smallint NOT NULL,          -- see docs/recording-format.md
    lexicon_number  smallint NOT NULL,          -- 0: none
    payload         bytea NOT NULL
) PARTITION BY RANGE (first_received_us);

ALTER TABLE rl_raw_blocks ALTER COLUMN payload SET STORAGE EXTERNAL;

-- The state of the recorder's fold after the first frame of each hour of a session, so that reading can begin there.
CREATE TABLE rl_tracker_states (
    received_us     bigint NOT NULL,            -- of the frame
    frame_number    bigint NOT NULL,
    session_id      integer NOT NULL REFERENCES rl_orderbook_sessions,
    state           bytea NOT NULL              -- see docs/recording-format.md
) PARTITION BY RANGE (received_us);

CREATE INDEX rl_tracker_states_session ON rl_tracker_states (session_id, frame_number);

-- What blocks of a session are compressed with, besides what belongs to the format: the names of its markets.
CREATE TABLE rl_raw_lexicons (
    session_id      integer NOT NULL REFERENCES rl_orderbook_sessions,
    lexicon_number  smallint NOT NULL,
    content         bytea NOT NULL,
    PRIMARY KEY (session_id, lexicon_number)
);

CREATE INDEX rl_raw_blocks_session ON rl_raw_blocks (session_id, batch_number);

CREATE TABLE rl_write_ledger (
    session_id      integer NOT NULL REFERENCES rl_orderbook_sessions,
    batch_number    integer NOT NULL,
    first_batch     integer,                    -- a summary: the row stands for the batches from this one on; null: a batch
    first_frame     bigint NOT NULL,            -- a batch without frames has last_frame = first_frame - 1
    last_frame      bigint NOT NULL,
    first_received_us bigint,                   -- null without frames
    last_received_us bigint,
    deltas          integer NOT NULL,           -- its frames by kind; every frame is in one of the counts
    snapshots       integer NOT NULL,
    trades          integer NOT NULL,
    controls        integer NOT NULL,
    stales          integer NOT NULL,
    rejects         integer NOT NULL,
    delta_rows      integer NOT NULL,           -- its rows by kind
    snapshot_rows   integer NOT NULL,
    trade_rows      integer NOT NULL,
    gap_rows        integer NOT NULL,
    book_state_rows integer NOT NULL,
    proven_empty_rows integer NOT NULL,
    tracker_state_rows integer NOT NULL,
    connection_event_rows integer NOT NULL,
    reject_rows     integer NOT NULL,
    audit_rows      integer NOT NULL,
    event_rows      integer NOT NULL,
    written_us      bigint NOT NULL,            -- when the batch was formed, by the recorder's clock
    block_hash      bytea NOT NULL,             -- SHA-256 of its raw block, dictionary included; empty without a block
    hash            bytea NOT NULL,             -- SHA-256 over the hash of the row before it (by batch_number, when it was
                                                -- written), the session's key, and all columns above; of a summary:
                                                -- that of its last batch
    PRIMARY KEY (session_id, batch_number),
    CHECK (first_batch <= batch_number),
    CHECK (last_frame - first_frame + 1 = deltas + snapshots + trades + controls + stales + rejects)
);

CREATE INDEX rl_write_ledger_time ON rl_write_ledger USING brin (last_received_us);

-- Each partition that retention has dropped: kept_days as configured; by the exchange's time the day's deltas and trades
-- were earlier than exchange_before_ms. A missing partition without a row here was not dropped by retention.
CREATE VIEW rl_partition_drops WITH (security_invoker = true) AS
SELECT c.entry_number, d.table_name, d.day, to_timestamp(c.entered_us / 1000000.0) AS dropped_at, d.dropped_by,
       d.code_version, d.kept_days, d.exchange_before_ms
  FROM rl_chain c, json_to_record(c.content::json) AS d(table_name text, day date, dropped_by text, code_version text,
                                                        kept_days integer, exchange_before_ms bigint)
 WHERE c.kind = 'drop' AND c.session_key IS NULL;

-- Each day (UTC) that is summarised, since all its partitions are dropped: how many rows of which tables were deleted.
-- summaries_hash is the SHA-256 over the summaries in the ledger that were left of the day: see docs/proof.md.
CREATE VIEW rl_day_summaries WITH (security_invoker = true) AS
SELECT c.entry_number, s.day, to_timestamp(c.entered_us / 1000000.0) AS summarised_at, s.summarised_by, s.code_version,
       s.deleted, s.summaries_hash
  FROM rl_chain c, json_to_record(c.content::json) AS s(day date, summarised_by text, code_version text, deleted json,
                                                        summaries_hash text)
 WHERE c.kind = 'summary' AND c.session_key IS NULL;

-- What `verify --record` has proven: of a session and a day (UTC) that nothing more is written of, the frames up to a
-- hash in its ledger, and the count and the sum of hashes of the rows of each kind that follow from them.
CREATE VIEW rl_proofs WITH (security_invoker = true) AS
SELECT c.entry_number, p.day, c.session_key, c.ledger_hash, p.decoder_version, p.code_version,
       to_timestamp(c.entered_us / 1000000.0) AS proven_at, p.rows
  FROM rl_chain c, json_to_record(c.content::json) AS p(day date, decoder_version integer, code_version text, rows json)
 WHERE c.kind = 'proof';

-- ---------------------------------------------------------------- for later stages

CREATE TABLE rl_models (
    model_id    integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name        text NOT NULL,
    version     text NOT NULL,
    parameters  jsonb NOT NULL DEFAULT '{}',
    artifact_url text,
    created_at  timestamptz NOT NULL DEFAULT now(),
    UNIQUE (name, version)
);

CREATE TABLE rl_trading_episodes (
    episode_id    integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    model_id      integer NOT NULL REFERENCES rl_models,
    market_ticker text NOT NULL,
    session_id    integer REFERENCES rl_orderbook_sessions,
    from_us       bigint NOT NULL,
    until_us      bigint NOT NULL,
    seed          bigint,
    reward        numeric,
    summary       jsonb NOT NULL DEFAULT '{}',
    created_at    timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE rl_trading_actions (
    episode_id      integer NOT NULL REFERENCES rl_trading_episodes,
    step            integer NOT NULL,
    timestamp_ms    bigint NOT NULL,
    sequence_number bigint,
    action          text NOT NULL,
    side            text CHECK (side IN ('yes', 'no')),
    price_e4        smallint,
    size_e2         bigint,
    reward          numeric,
    PRIMARY KEY (episode_id, step)
);

-- ---------------------------------------------------------------- the names that readers use

CREATE VIEW rl_orderbook_deltas WITH (security_invoker = true) AS
SELECT d.session_id, m.market_ticker, d.sid, d.sequence_number, d.clock, d.timestamp_ms, d.received_us,
       CASE WHEN d.is_yes THEN 'yes' ELSE 'no' END AS side,
       CASE WHEN d.old_size_e2 + d.delta_e2 = 0 THEN 'remove'
            WHEN d.old_size_e2 = 0 THEN 'add'
            ELSE 'update' END AS action,
       d.price_e4::integer AS price_e4, d.delta_e2, d.old_size_e2, d.old_size_e2 + d.delta_e2 AS new_size_e2
  FROM rl_delta_rows d JOIN rl_markets m USING (market_id);

CREATE VIEW rl_orderbook_snapshots WITH (security_invoker = true) AS
SELECT s.session_id, m.market_ticker, s.sid, s.sequence_number, s.clock,
       s.received_us / 1000 AS timestamp_ms, s.received_us,
       s.origin, s.yes_bids, s.no_bids, s.digest
  FROM rl_snapshot_rows s JOIN rl_markets m USING (market_id);

CREATE VIEW rl_orderbook_trades WITH (security_invoker = true) AS
SELECT t.session_id, m.market_ticker, t.sid, t.sequence_number, t.timestamp_ms, t.received_us, t.trade_id,
       CASE WHEN t.is_taker_yes THEN 'yes' WHEN NOT t.is_taker_yes THEN 'no' END AS taker_side,
       t.price_e4::integer AS price_e4, t.count_e2, t.is_block_trade
  FROM rl_trade_rows t JOIN rl_markets m USING (market_id);

-- Where batches of a session are missing in its ledger: from when on, and between which frames. `next_frame` is null
-- where its last batches are missing, by its own counts or by its ending.
CREATE VIEW rl_ledger_holes WITH (security_invoker = true) AS
SELECT h.session_id, h.after_frame, h.next_frame, COALESCE(h.from_us, s.started_us) AS from_us
  FROM (SELECT session_id, last_frame AS after_frame, batch_number, max(last_received_us) OVER in_order AS from_us,
               lead(first_frame) OVER in_order AS next_frame, lead(first_batch) OVER in_order AS next_batch
          FROM (SELECT session_id, COALESCE(first_batch, batch_number) AS first_batch, batch_number, first_frame,
                       last_frame, last_received_us FROM rl_write_ledger
                 UNION ALL
                SELECT session_id, 0, 0, 1, 0, NULL FROM rl_orderbook_sessions) AS ledger
        WINDOW in_order AS (PARTITION BY session_id ORDER BY batch_number)) AS h
  JOIN rl_orderbook_sessions s USING (session_id)
 WHERE h.next_frame <> h.after_frame + 1 OR h.next_batch <> h.batch_number + 1
    OR (h.next_batch IS NULL
        AND (s.batches > h.batch_number OR GREATEST(s.frames, s.last_frame) > h.after_frame));

-- The proofs of rl_proven_empty_rows about times that overlap the given one, as far as they hold: the session of the
-- book before is there, and its ledger is complete up to that book's frame.
CREATE FUNCTION rl_proofs_between(since_us bigint, before_us bigint)
RETURNS TABLE (session_id integer, market_ticker text, from_us bigint, until_us bigint)
LANGUAGE sql STABLE SET search_path FROM CURRENT AS $$
    WITH proofs AS MATERIALIZED (
        SELECT p.session_id, m.market_ticker, p.from_us, p.received_us, p.earlier_frame, e.session_id AS earlier_id
          FROM rl_proven_empty_rows p JOIN rl_markets m USING (market_id)
               JOIN rl_orderbook_sessions e ON e.session_key = p.earlier_key
         WHERE p.received_us >= since_us AND p.from_us < before_us AND e.frames >= p.earlier_frame
    ), holes AS MATERIALIZED (
        SELECT h.session_id, min(h.after_frame) AS after_frame FROM rl_ledger_holes h
         WHERE h.session_id = ANY (ARRAY(SELECT DISTINCT p.earlier_id FROM proofs p)) GROUP BY h.session_id
    )
    SELECT p.session_id, p.market_ticker, p.from_us, p.received_us
      FROM proofs p LEFT JOIN holes h ON h.session_id = p.earlier_id
     WHERE h.after_frame IS NULL OR h.after_frame >= p.earlier_frame
$$;

CREATE VIEW rl_proven_empty WITH (security_invoker = true) AS
SELECT session_id, market_ticker, from_us, until_us FROM rl_proofs_between(0, 9223372036854775807);

-- The intervals in which a session's book of a market is exact or unknown, and why. The last one has no end: it
-- lasts as long as the session. The order of frames decides; receive times only say when that was. A hole in the
-- ledger makes all books unknown, each until its next row in rl_book_states after the hole. An interval in which
-- nothing happened by a proof is exact, with the cause proven_empty.
CREATE FUNCTION rl_spans(session_ids integer[], tickers text[] DEFAULT NULL)
RETURNS TABLE (session_id integer, market_ticker text, from_us bigint, until_us bigint, is_exact boolean, cause text)
LANGUAGE sql STABLE SET search_path FROM CURRENT AS $$
    WITH sessions AS MATERIALIZED (
        SELECT * FROM rl_orderbook_sessions s WHERE s.session_id = ANY (session_ids)
    ), marks AS (
        SELECT s.session_id, m.market_ticker, 0::bigint AS frame_number, 0 AS rank, s.started_us AS at_us,
               'no_snapshot_yet' AS cause, NULL::bigint AS resumed_frame
          FROM sessions s,
               LATERAL (SELECT unnest(s.market_tickers) EXCEPT SELECT unnest(s.added_tickers)) AS m(market_ticker)
        UNION ALL
        SELECT b.session_id, m.market_ticker, b.frame_number, 1, b.received_us, b.cause, NULL
          FROM rl_book_states b JOIN rl_markets m USING (market_id) WHERE b.session_id = ANY (session_ids)
        UNION ALL
        SELECT h.session_id, m.market_ticker, h.after_frame, 2, h.from_us, 'ledger_hole',
               COALESCE(h.next_frame, 9223372036854775807)
          FROM rl_ledger_holes h JOIN sessions s USING (session_id),
               LATERAL (SELECT DISTINCT unnest(s.market_tickers)) AS m(market_ticker)
         WHERE h.session_id = ANY (session_ids)
    ), placed AS (
        SELECT *, max(k.resumed_frame) OVER (PARTITION BY k.session_id, k.market_ticker
                                             ORDER BY k.frame_number, k.rank) AS known_again
          FROM marks k WHERE tickers IS NULL OR k.market_ticker = ANY (tickers)
    ), turns AS (
        SELECT *, lag(p.rank) OVER in_order IS NULL OR lag(p.cause) OVER in_order IS DISTINCT FROM p.cause AS is_turn
          FROM placed p
         WHERE p.resumed_frame IS NOT NULL OR p.known_again IS NULL OR p.frame_number >= p.known_again
        WINDOW in_order AS (PARTITION BY p.session_id, p.market_ticker ORDER BY p.frame_number, p.rank)
    ), divided AS (
        SELECT t.session_id, t.market_ticker, t.at_us AS from_us,
               lead(t.at_us) OVER (PARTITION BY t.session_id, t.market_ticker
                                   ORDER BY t.frame_number, t.rank) AS until_us, t.cause
          FROM turns t WHERE t.is_turn
    ), spans AS MATERIALIZED (
        -- Of states with one receive time the last one counts; an exact one still divides two interruptions.
        SELECT * FROM divided d WHERE d.until_us IS NULL OR d.until_us > d.from_us
    ), proven AS (
        SELECT DISTINCT n.session_id, n.market_ticker, n.from_us
          FROM spans n JOIN sessions s USING (session_id)
               JOIN rl_proofs_between((SELECT min(started_us) FROM sessions), 9223372036854775807) p
                 ON p.market_ticker = n.market_ticker AND p.from_us <= n.from_us
                AND p.until_us >= COALESCE(n.until_us, s.ended_us)
         WHERE n.cause IS NOT NULL
    )
    SELECT n.session_id, n.market_ticker, n.from_us, n.until_us, n.cause IS NULL OR p.from_us IS NOT NULL,
           CASE WHEN p.from_us IS NULL THEN n.cause ELSE 'proven_empty' END
      FROM spans n LEFT JOIN proven p USING (session_id, market_ticker, from_us)
$$;

CREATE VIEW rl_book_spans WITH (security_invoker = true) AS
SELECT session_id, market_ticker, from_us, until_us, is_exact, cause
  FROM rl_spans(ARRAY(SELECT session_id FROM rl_orderbook_sessions));

-- The intervals in which a market's book is exact or unknown, and why. After a session's end it is unknown until
-- the next session of the market begins, unless nothing happened by a proof; until_us is null if there is none. An
-- active session is listed up to its last message.
CREATE VIEW rl_market_coverage WITH (security_invoker = true) AS
WITH spans AS (
    SELECT b.market_ticker, b.session_id, b.from_us,
           LEAST(b.until_us, COALESCE(s.ended_us, s.last_message_us, s.started_us)) AS until_us,
           b.is_exact, b.cause
      FROM rl_book_spans b JOIN rl_orderbook_sessions s USING (session_id)
), recorded AS (
    SELECT m.market_ticker, s.session_id, s.started_us, s.ended_us, COALESCE(s.end_reason, s.status) AS cause,
           lead(s.started_us) OVER (PARTITION BY m.market_ticker ORDER BY s.started_us, s.session_id) AS next_us
      FROM rl_orderbook_sessions s,
           LATERAL (SELECT DISTINCT t.market_ticker FROM unnest(s.market_tickers) AS t(market_ticker)) m
), proven AS (
    SELECT DISTINCT r.market_ticker, r.session_id
      FROM recorded r JOIN rl_proven_empty p USING (market_ticker)
     WHERE p.from_us <= r.ended_us AND p.until_us >= r.next_us
)
SELECT market_ticker, session_id, from_us, until_us, is_exact, cause FROM spans WHERE until_us > from_us
UNION ALL
SELECT r.market_ticker, r.session_id, r.ended_us, r.next_us, p.session_id IS NOT NULL,
       CASE WHEN p.session_id IS NULL THEN r.cause ELSE 'proven_empty' END
  FROM recorded r LEFT JOIN proven p USING (market_ticker, session_id)
 WHERE r.ended_us IS NOT NULL AND (r.next_us IS NULL OR r.next_us > r.ended_us);

-- ---------------------------------------------------------------- who may do what

-- The owner may do everything, the role rl_reader (if there is one) may read everything, and nobody else may do
-- anything: whatever rights a hosting service, or default privileges, give to other roles.

-- Tables, views and sequences of this definition, and the partitions.
CREATE FUNCTION rl_own_relations() RETURNS SETOF regclass
LANGUAGE sql STABLE SET search_path FROM CURRENT AS $$
    WITH named AS (
        SELECT c.oid FROM pg_class c
         WHERE c.relnamespace = current_schema()::regnamespace AND c.relname = ANY (ARRAY[
               'rl_schema_versions', 'rl_database', 'rl_chain', 'rl_markets', 'rl_orderbook_sessions', 'rl_delta_rows',
               'rl_trade_rows', 'rl_snapshot_rows', 'rl_market_events', 'rl_connection_events', 'rl_orderbook_gaps',
               'rl_book_states', 'rl_proven_empty_rows', 'rl_orderbook_rejects', 'rl_orderbook_audits',
               'rl_raw_blocks', 'rl_tracker_states', 'rl_raw_lexicons', 'rl_write_ledger', 'rl_models',
               'rl_trading_episodes', 'rl_trading_actions', 'rl_partition_drops', 'rl_day_summaries', 'rl_proofs',
               'rl_orderbook_deltas', 'rl_orderbook_snapshots', 'rl_orderbook_trades', 'rl_ledger_holes',
               'rl_proven_empty', 'rl_book_spans', 'rl_market_coverage'])
    )
    SELECT oid::regclass FROM named
    UNION ALL
    SELECT i.inhrelid::regclass FROM pg_inherits i JOIN named n ON n.oid = i.inhparent
    UNION ALL
    SELECT d.objid::regclass FROM pg_depend d JOIN named n ON n.oid = d.refobjid JOIN pg_class c ON c.oid = d.objid
     WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND c.relkind = 'S'
$$;

-- Revokes all rights on a relation from other roles, enables row-level security, and grants rl_reader SELECT with a
-- policy. Returns whether anything was changed.
CREATE FUNCTION rl_protect_relation(relation regclass) RETURNS boolean
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    own     pg_class;
    role    text;
    has_reader boolean := EXISTS (SELECT FROM pg_roles WHERE rolname = 'rl_reader');
    is_changed boolean := false;
BEGIN
    SELECT * INTO STRICT own FROM pg_class WHERE oid = relation;
    FOR role IN
        SELECT DISTINCT COALESCE(quote_ident(r.rolname), 'PUBLIC')
          FROM (SELECT a.grantee, a.privilege_type, a.is_grantable FROM aclexplode(own.relacl) a
                 UNION ALL
                SELECT a.grantee, 'column', false FROM pg_attribute t, aclexplode(t.attacl) a
                 WHERE t.attrelid = relation) AS rights
               LEFT JOIN pg_roles r ON r.oid = rights.grantee
         WHERE rights.grantee <> own.relowner
           AND (r.rolname, rights.privilege_type, rights.is_grantable) IS DISTINCT FROM ('rl_reader', 'SELECT', false)
    LOOP
        EXECUTE format('REVOKE ALL ON %s %s FROM %s CASCADE',
                       CASE own.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, relation, role);
        is_changed := true;
    END LOOP;
    IF own.relkind IN ('r', 'p') AND NOT own.relrowsecurity THEN
        EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', relation);
        is_changed := true;
    END IF;
    IF has_reader AND NOT EXISTS (SELECT FROM pg_class c, aclexplode(c.relacl) a JOIN pg_roles r ON r.oid = a.grantee
                                   WHERE c.oid = relation AND r.rolname = 'rl_reader') THEN
        EXECUTE format('GRANT SELECT ON %s TO rl_reader', relation);
        is_changed := true;
    END IF;
    IF has_reader AND own.relkind IN ('r', 'p')
       AND NOT EXISTS (SELECT FROM pg_policy WHERE polrelid = relation AND polname = 'rl_reader_reads') THEN
        EXECUTE format('CREATE POLICY rl_reader_reads ON %s FOR SELECT TO rl_reader USING (true)', relation);
        is_changed := true;
    END IF;
    RETURN is_changed;
END $$;

-- Does the same for all relations and functions of this definition, and revokes default privileges on later tables.
-- Returns the number of changes, 0 if none was needed.
CREATE FUNCTION rl_protect() RETURNS integer
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    place   text := quote_ident(current_schema());
    has_reader boolean := EXISTS (SELECT FROM pg_roles WHERE rolname = 'rl_reader');
    -- What the views need may be called by those who read.
    readable text[] := ARRAY['rl_spans', 'rl_proofs_between'];
    functions text[] := readable || ARRAY['rl_append', 'rl_own_relations', 'rl_protect_relation', 'rl_protect',
                                          'rl_ensure_partitions', 'rl_newest_exchange_ms', 'rl_may_be_later',
                                          'rl_drop_partition', 'rl_summarise_day'];
    command text;
    changed integer;
BEGIN
    SELECT count(*) FILTER (WHERE rl_protect_relation(relation)) INTO changed FROM rl_own_relations() AS relation;
    FOR command IN
        SELECT DISTINCT format('REVOKE ALL ON FUNCTION %s FROM %s CASCADE', f.oid::regprocedure,
                               COALESCE(quote_ident(r.rolname), 'PUBLIC'))
          FROM pg_proc f CROSS JOIN aclexplode(COALESCE(f.proacl, acldefault('f', f.proowner))) a
               LEFT JOIN pg_roles r ON r.oid = a.grantee
         WHERE f.pronamespace = current_schema()::regnamespace AND f.proname = ANY (functions)
           AND a.grantee <> f.proowner
           AND NOT (r.rolname IS NOT DISTINCT FROM 'rl_reader' AND f.proname = ANY (readable) AND NOT a.is_grantable)
        UNION ALL
        SELECT format('GRANT EXECUTE ON FUNCTION %s TO rl_reader', f.oid::regprocedure)
          FROM pg_proc f
         WHERE has_reader AND f.pronamespace = current_schema()::regnamespace AND f.proname = ANY (readable)
           AND NOT EXISTS (SELECT FROM aclexplode(f.proacl) a JOIN pg_roles r ON r.oid = a.grantee
                            WHERE r.rolname = 'rl_reader')
        UNION ALL
        SELECT format('GRANT USAGE ON SCHEMA %s TO rl_reader', place)
         WHERE has_reader AND NOT has_schema_privilege('rl_reader', current_schema(), 'USAGE')
        UNION ALL
        -- Where other programs have tables, their defaults stay.
        SELECT format('ALTER DEFAULT PRIVILEGES FOR ROLE %I IN SCHEMA %s REVOKE ALL ON %s FROM %s',
                      pg_get_userbyid(d.defaclrole), place,
                      CASE d.defaclobjtype WHEN 'r' THEN 'TABLES' WHEN 'S' THEN 'SEQUENCES'
                                           WHEN 'f' THEN 'FUNCTIONS' WHEN 'T' THEN 'TYPES' END,
                      COALESCE(quote_ident(r.rolname), 'PUBLIC'))
          FROM pg_default_acl d CROSS JOIN aclexplode(d.defaclacl) a LEFT JOIN pg_roles r ON r.oid = a.grantee
         WHERE d.defaclnamespace = current_schema()::regnamespace
           AND d.defaclrole = (SELECT relowner FROM pg_class WHERE oid = 'rl_database'::regclass)
           AND pg_has_role(d.defaclrole, 'USAGE') AND a.grantee <> d.defaclrole
           AND NOT EXISTS (SELECT FROM pg_class c WHERE c.relnamespace = d.defaclnamespace AND c.relkind <> 'i'
                              AND c.relkind <> 'I' AND c.oid <> ALL (SELECT rl_own_relations()::oid))
    LOOP
        EXECUTE command;
        changed := changed + 1;
    END LOOP;
    RETURN changed;
END $$;

-- ---------------------------------------------------------------- partitions, one for each day of receive time

-- Makes the missing partitions of the given days (UTC). Returns their number.
CREATE FUNCTION rl_ensure_partitions(first_day date, last_day date) RETURNS integer
LANGUAGE plpgsql SET search_path FROM CURRENT SET lock_timeout = '5s' AS $$
DECLARE
    parent  text;
    day     date;
    name    text;
    made    integer := 0;
    from_us bigint;
    owner   name := (SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = 'rl_delta_rows'::regclass);
BEGIN
    -- Two recorders may ask at once: the second waits here, and then finds nothing missing.
    LOCK TABLE rl_schema_versions IN SHARE ROW EXCLUSIVE MODE;
    FOREACH parent IN ARRAY ARRAY['rl_delta_rows', 'rl_trade_rows', 'rl_snapshot_rows',
                                'rl_tracker_states', 'rl_raw_blocks'] LOOP
        FOR day IN SELECT first_day + n FROM generate_series(0, last_day - first_day) AS n LOOP
            name := parent || '_' || to_char(day, 'YYYYMMDD');
            -- A table of that name that is no partition makes this fail, so that it is noticed ahead of time.
            CONTINUE WHEN EXISTS (SELECT FROM pg_inherits
                                   WHERE inhrelid = to_regclass(name) AND inhparent = to_regclass(parent));
            from_us := (day - date '1970-01-01')::bigint * 86400000000;
            -- Made apart and then attached, because that waits for no reader and holds up no writer.
            EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING STORAGE)',
                           name, parent);
            EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%s) TO (%s)',
                           parent, name, from_us, from_us + 86400000000);
            PERFORM rl_protect_relation(name::regclass);
            IF owner <> current_user THEN
                EXECUTE format('ALTER TABLE %I OWNER TO %I', name, owner);
            END IF;
            made := made + 1;
        END LOOP;
    END LOOP;
    RETURN made;
END $$;


-- A time of the exchange that the stored deltas have reached: that of the newest ones, as far as the end of a table
-- shows it. Null where no delta has a time. An exchange time more than an hour after the receive time is
-- ignored.
CREATE FUNCTION rl_newest_exchange_ms() RETURNS bigint
LANGUAGE plpgsql STABLE SET search_path FROM CURRENT SET lock_timeout = '500ms' AS $$
DECLARE
    part    regclass;
    newest_ms bigint;
BEGIN
    FOR part IN
        SELECT c.oid FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
         WHERE i.inhparent = 'rl_delta_rows'::regclass ORDER BY c.relname DESC
    LOOP
        EXECUTE format('SELECT max(timestamp_ms) FROM %s WHERE ctid >= %L::tid'
                       ' AND timestamp_ms <= received_us / 1000 + 3600000', part,
                       format('(%s,0)', GREATEST(pg_relation_size(part) / current_setting('block_size')::integer - 100, 0))) INTO newest_ms;
        EXIT WHEN newest_ms IS NOT NULL;
    END LOOP;
    RETURN newest_ms;
END $$;

-- Whether what was received on a day may be later than an instant: by the exchange's times, ignoring times more than an
-- hour in the future, and by the database's clock, where that was more than an hour ahead of the recorder's when a
-- session of the day was opened. Where retention has dropped the day's deltas and trades, what it noted of them decides.
CREATE FUNCTION rl_may_be_later(of_day date, at_ms bigint) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path FROM CURRENT SET lock_timeout = '500ms' AS $$
DECLARE
    from_us bigint := (of_day - date '1970-01-01')::bigint * 86400000000;
    until_us bigint := from_us + 86400000000;
    now_ms  bigint := (EXTRACT(EPOCH FROM now()) * 1000)::bigint + 3600000;
BEGIN
    RETURN EXISTS (SELECT FROM rl_delta_rows
                    WHERE received_us >= from_us AND received_us < until_us
                      AND timestamp_ms::numeric > at_ms AND timestamp_ms::numeric <= now_ms)
        OR EXISTS (SELECT FROM rl_trade_rows
                    WHERE received_us >= from_us AND received_us < until_us
                      AND timestamp_ms > at_ms AND timestamp_ms <= now_ms)
        OR EXISTS (SELECT FROM rl_orderbook_sessions s JOIN rl_chain c USING (session_key)
                    WHERE s.session_id = ANY (ARRAY(SELECT DISTINCT l.session_id FROM rl_write_ledger l
                                                     WHERE l.last_received_us >= from_us
                                                       AND l.last_received_us < until_us))
                      AND c.kind = 'opening'
                    GROUP BY s.session_id, s.started_us
                   HAVING min(c.entered_us) - s.started_us > 3600000000
                      AND until_us + min(c.entered_us) - s.started_us > at_ms * 1000)
        OR EXISTS (SELECT FROM rl_partition_drops d
                    WHERE d.day = of_day AND d.table_name IN ('rl_delta_rows', 'rl_trade_rows')
                      AND d.exchange_before_ms > at_ms);
END $$;

-- Drops a day's partition, and appends that to rl_chain. Returns false, and drops nothing, if two other days of the table
-- were dropped in the last 24 hours. A drop waits for readers, and writers wait for the drop: so it gives up soon, and is
-- retried.
CREATE FUNCTION rl_drop_partition(parent text, of_day date, kept integer, before_ms bigint, version text) RETURNS boolean
LANGUAGE plpgsql SET search_path FROM CURRENT SET lock_timeout = '500ms' AS $$
BEGIN
    -- The next recorder counts the drops of this one only after it has committed.
    PERFORM FROM rl_database FOR UPDATE;
    IF (SELECT count(DISTINCT d.day) FROM rl_partition_drops d
         WHERE d.table_name = parent AND d.day <> of_day
           AND d.dropped_at > now() - interval '24 hours' AND d.dropped_at <= now()) >= 2 THEN
        RETURN false;
    END IF;
    EXECUTE format('DROP TABLE %I', parent || '_' || to_char(of_day, 'YYYYMMDD'));
    PERFORM rl_append('drop', NULL, NULL, json_build_object(
        'table_name', parent, 'day', of_day, 'dropped_by', current_user, 'code_version', version,
        'kept_days', kept, 'exchange_before_ms', before_ms)::text);
    RETURN true;
END $$;

-- Summarises what is left of a day whose partitions are all dropped. Batches of a session that follow each other become
-- one row of the ledger, with the sums of their counts and the hash of the last. Rows of the other tables are deleted,
-- and their counts in the ledger reduced, so that a count says how many rows are there. Of each market's book in a
-- session that continues, the state at the end of the day stays. An entry of rl_chain says how many rows were deleted,
-- and has a hash over the summaries. Returns how many ledger rows were merged away.
CREATE FUNCTION rl_summarise_day(of_day date, version text) RETURNS bigint
LANGUAGE plpgsql SET search_path FROM CURRENT SET lock_timeout = '5s' SET bytea_output = 'hex' AS $$
DECLARE
    from_us     bigint := (of_day - date '1970-01-01')::bigint * 86400000000;
    until_us    bigint := from_us + 86400000000;
    sessions    integer[] := ARRAY(SELECT DISTINCT session_id FROM rl_write_ledger
                                    WHERE last_received_us >= from_us AND last_received_us < until_us);
    merged      bigint;
    deleted     bigint;
    detail      record;
    counts      jsonb;
    summaries   bytea;
BEGIN
    WITH ranges AS (
        SELECT session_id, min(batch_number) AS first, max(batch_number) AS last FROM rl_write_ledger
         WHERE last_received_us >= from_us AND last_received_us < until_us GROUP BY session_id
    ), marked AS (
        SELECT l.*, COALESCE(l.first_batch, l.batch_number) <> lag(l.batch_number) OVER in_order + 1
                    OR l.first_frame <> lag(l.last_frame) OVER in_order + 1 AS is_after_hole
          FROM rl_write_ledger l JOIN ranges r ON r.session_id = l.session_id
           AND l.batch_number BETWEEN r.first AND r.last
        WINDOW in_order AS (PARTITION BY l.session_id ORDER BY l.batch_number)
    ), grouped AS (
        SELECT *, count(*) FILTER (WHERE is_after_hole) OVER (PARTITION BY session_id ORDER BY batch_number) AS run
          FROM marked
    ), runs AS (
        SELECT session_id, min(COALESCE(first_batch, batch_number)) AS first_batch, max(batch_number) AS last_batch,
               min(first_frame) AS first_frame, min(first_received_us) AS first_received_us,
               max(last_received_us) AS last_received_us, sum(deltas) AS deltas, sum(snapshots) AS snapshots,
               sum(trades) AS trades, sum(controls) AS controls, sum(stales) AS stales, sum(rejects) AS rejects,
               sum(delta_rows) AS delta_rows, sum(snapshot_rows) AS snapshot_rows, sum(trade_rows) AS trade_rows,
               sum(gap_rows) AS gap_rows, sum(book_state_rows) AS book_state_rows,
               sum(proven_empty_rows) AS proven_empty_rows, sum(tracker_state_rows) AS tracker_state_rows,
               sum(connection_event_rows) AS connection_event_rows, sum(reject_rows) AS reject_rows,
               sum(audit_rows) AS audit_rows, sum(event_rows) AS event_rows
          FROM grouped GROUP BY session_id, run
    )
    UPDATE rl_write_ledger l
       SET first_batch = r.first_batch, first_frame = r.first_frame, first_received_us = r.first_received_us,
           last_received_us = r.last_received_us, deltas = r.deltas, snapshots = r.snapshots, trades = r.trades,
           controls = r.controls, stales = r.stales, rejects = r.rejects, delta_rows = r.delta_rows,
           snapshot_rows = r.snapshot_rows, trade_rows = r.trade_rows, gap_rows = r.gap_rows,
           book_state_rows = r.book_state_rows, proven_empty_rows = r.proven_empty_rows,
           tracker_state_rows = r.tracker_state_rows, connection_event_rows = r.connection_event_rows,
           reject_rows = r.reject_rows, audit_rows = r.audit_rows, event_rows = r.event_rows
      FROM runs r WHERE l.session_id = r.session_id AND l.batch_number = r.last_batch;
    DELETE FROM rl_write_ledger l USING rl_write_ledger s
     WHERE s.session_id = ANY (sessions) AND s.first_batch IS NOT NULL AND s.last_received_us >= from_us
       AND s.last_received_us < until_us AND l.session_id = s.session_id
       AND l.batch_number >= s.first_batch AND l.batch_number < s.batch_number;
    GET DIAGNOSTICS merged = ROW_COUNT;
    counts := jsonb_build_object('rl_write_ledger', merged);

    FOR detail IN
        SELECT * FROM (VALUES
            ('rl_orderbook_gaps', 'detected_us', 'gap_rows'),
            ('rl_book_states', 'received_us', 'book_state_rows'),
            ('rl_proven_empty_rows', 'received_us', 'proven_empty_rows'),
            ('rl_connection_events', 'received_us', 'connection_event_rows'),
            ('rl_orderbook_rejects', 'received_us', 'reject_rows'),
            ('rl_orderbook_audits', 'received_us', 'audit_rows'),
            ('rl_market_events', 'received_us', 'event_rows')) AS details (source, time_name, count_name)
    LOOP
        EXECUTE format($delete$
            WITH gone AS (
                DELETE FROM %1$I t USING rl_orderbook_sessions s
                 WHERE t.session_id = ANY ($3) AND s.session_id = t.session_id AND t.%2$I < $2
                   AND (%4$s) RETURNING t.session_id
            ), counts AS (
                SELECT session_id, count(*) AS gone FROM gone GROUP BY session_id
            ), ledger AS (
                UPDATE rl_write_ledger l SET %3$I = l.%3$I - c.gone FROM counts c
                 WHERE l.session_id = c.session_id
                   AND l.batch_number = (SELECT max(n.batch_number) FROM rl_write_ledger n
                                          WHERE n.session_id = c.session_id AND n.last_received_us < $2)
            ), sessions AS (
                UPDATE rl_orderbook_sessions s SET gaps = s.gaps - c.gone FROM counts c
                 WHERE %1$L = 'rl_orderbook_gaps' AND s.session_id = c.session_id
            )
            SELECT COALESCE(sum(gone), 0) FROM counts
            $delete$, detail.source, detail.time_name, detail.count_name,
            CASE detail.source WHEN 'rl_book_states' THEN
                's.ended_us < $2 OR EXISTS (SELECT FROM rl_book_states n WHERE n.session_id = t.session_id'
                ' AND n.market_id = t.market_id AND n.frame_number > t.frame_number AND n.received_us < $2)'
            ELSE format('t.%I >= $1', detail.time_name) END)
        INTO deleted USING from_us, until_us, sessions;
        counts := counts || jsonb_build_object(detail.source, deleted);
    END LOOP;

    DELETE FROM rl_raw_lexicons x USING rl_orderbook_sessions s
     WHERE s.session_id = x.session_id AND s.ended_us < until_us
       AND NOT EXISTS (SELECT FROM rl_raw_blocks b WHERE b.session_id = x.session_id);

    SELECT sha256(COALESCE(string_agg(convert_to(to_jsonb(l)::text, 'UTF8'), '\x0a' ORDER BY l.session_id, l.batch_number),
                           '')) INTO summaries
      FROM rl_write_ledger l
     WHERE l.session_id = ANY (sessions) AND l.first_batch IS NOT NULL
       AND l.last_received_us >= from_us AND l.last_received_us < until_us;
    PERFORM rl_append('summary', NULL, NULL, json_build_object(
        'day', of_day, 'summarised_by', current_user, 'code_version', version, 'deleted', counts,
        'summaries_hash', encode(summaries, 'hex'))::text);
    RETURN merged;
END $$;

SELECT rl_protect();

-- Last, so that a definition that was not applied to its end counts as none.
INSERT INTO rl_schema_versions (version, oldest_program) VALUES (1, 1);
