"""
Words for what goes wrong: what an operator reads as a problem's title, and what to do about it. Pure.
"""

from typing import Final

from attrs import frozen

from collector.facts import Cause


@frozen
class Words:
    """A few words that name the trouble, and what to do about it."""

    title: str
    advice: str


_GAP_ADVICE: Final = (
    "Nothing now: each book is asked for anew and is exact again from its snapshot on; the hole is a row in"
    " rl_orderbook_gaps. "
)

CAUSES: Final[dict[Cause, Words]] = {
    Cause.SEQUENCE: Words(
        "sequence gap",
        _GAP_ADVICE + "If it happens again and again, check the network and the processor of this machine.",
    ),
    Cause.REJECT: Words(
        "a frame about a book was not understood",
        _GAP_ADVICE + "Read the frame in rl_orderbook_rejects: when the exchange has changed its messages,"
        " this program must be updated.",
    ),
    Cause.NEGATIVE_LEVEL: Words(
        "a level went below zero",
        _GAP_ADVICE + "Numbers were whole and the content was wrong: keep the raw frames, run"
        " `collector verify{session}`, and report it.",
    ),
    Cause.AUDIT_MISMATCH: Words("an audit found a wrong book", _GAP_ADVICE),
    Cause.AFTER_END: Words("an answer came after its subscription had ended", _GAP_ADVICE),
    Cause.OTHER_SUBSCRIPTION: Words(
        "a message arrived on another subscription than its own",
        _GAP_ADVICE + "If it repeats, keep the raw frames and report it.",
    ),
    Cause.UNKNOWN_TYPE: Words(
        "the exchange sent an unknown kind of message among those of the books",
        _GAP_ADVICE + "If it repeats, the exchange has changed its messages: update this program.",
    ),
    Cause.UNKNOWN_ERROR: Words(
        "the exchange sent an unknown error",
        _GAP_ADVICE + "Read the frame in the log; if it repeats, update this program.",
    ),
    Cause.UNKNOWN_MARKET: Words(
        "a change arrived of a market that is not subscribed",
        _GAP_ADVICE + "If it repeats, keep the raw frames and report it.",
    ),
    Cause.SEQUENCE_CONFLICT: Words(
        "the exchange used a number twice",
        _GAP_ADVICE + "If it continues, the connection is made again after the next probe.",
    ),
    Cause.CLOCK_CONFLICT: Words(
        "the exchange's clock went back",
        _GAP_ADVICE + "In maintenance (Thursday, 3 to 5 AM Eastern) that is normal; otherwise report it.",
    ),
    Cause.CHANNEL_ERROR: Words(
        "the exchange ended a subscription with an error",
        _GAP_ADVICE
        + "The market is subscribed again by itself; if it repeats, look at the exchange's status.",
    ),
    Cause.BUFFER_OVERFLOW: Words(
        "the exchange's buffer for us overflowed",
        _GAP_ADVICE + "We read too slowly: give this machine more processor time or a better network, or"
        " record fewer markets (RL_MARKET_TICKERS).",
    ),
    Cause.UNSUBSCRIBED: Words("the exchange ended a subscription unasked", _GAP_ADVICE),
    Cause.NO_SNAPSHOT_YET: Words(
        "no first snapshot has come",
        "Check these tickers in RL_MARKET_TICKERS: a market that is over, or that is none, gets no book.",
    ),
    Cause.UNFOLLOWED: Words("the market is not followed any more", "Nothing: it was taken out on request."),
    Cause.SESSION_ENDED: Words("the connection is closed", _GAP_ADVICE),
    Cause.NOT_RECORDED_YET: Words("nothing is recorded after the newest message", "Nothing."),
    Cause.STORE_LOST: Words(
        "the database has lost, or refuses, batches that can't be written to it again",
        _GAP_ADVICE
        + "Find out whether a backup was restored or a replica took over. A larger RL_REWRITE_WINDOW"
        " keeps written batches for longer.",
    ),
    Cause.LEDGER_HOLE: Words(
        "the database has lost batches that it had confirmed",
        "Find out whether a backup was restored or a replica took over. Books are exact again from their next"
        " snapshot on.",
    ),
}
"""For each cause of a gap, or of a book that is unknown."""

KEY_REFUSED: Final = Words(
    "The exchange refuses the API key",
    "Check KALSHI_API_KEY_ID and KALSHI_PRIVATE_KEY_CONTENT (or KALSHI_PRIVATE_KEY_PATH): that they are one"
    " pair, that the key still exists, that it is for KALSHI_ENV={environment}; and this machine's clock, as"
    " a signature is good for seconds. Changed variables need a restart; else it is tried again each minute.",
)
REFUSED: Final = Words(
    "The exchange refuses the connection",
    "Check KALSHI_ENV={environment}, KALSHI_WS_URL and the tickers in RL_MARKET_TICKERS against what the"
    " exchange answers. It is tried again each minute.",
)
WAITING: Final = Words(
    "Nothing is recorded: the database is away, and there is no more room",
    "Bring the database back (DATABASE_URL), or make room for the spool (RL_SPOOL_MAX_MB, the disk under"
    " RL_SPOOL_DIR). What was received is kept and written then; what comes meanwhile is missing.",
)
STOPPED: Final = Words("A feed has stopped", "Read the log for the reason, and restart the service.")
NO_FEED: Final = Words(
    "Nothing is recorded: there is no market to record",
    "Check RL_MARKET_TICKERS and RL_MARKET_MODE, and read the log of the start; then restart the service.",
)
_LOSS_ADVICE: Final = (
    "It is tried again by itself. After a minute check the network from here to the exchange, and the"
    " exchange's status; its maintenance is on Thursdays, 3 to 5 AM Eastern."
)
LOSS_OVER: Final = (
    "Nothing now: what was missed is unknown time in the coverage. If it comes back again and again, check"
    " the network from here to the exchange, and the exchange's status."
)
SILENT: Final = Words("The exchange went silent: the connection was given up", _LOSS_ADVICE)
LOST: Final = Words("The connection to the exchange was lost", _LOSS_ADVICE)
NEVER_CONNECTED: Final = Words(
    "The exchange was never reached",
    "Check the network from here to the exchange, KALSHI_ENV={environment} and KALSHI_WS_URL. It is tried"
    " again by itself.",
)
DISCOVERY: Final = Words(
    "Which markets are open could not be looked up",
    "Nothing for a while: those that are followed are recorded on, and it is tried again by itself. If it"
    " stays, check KALSHI_API_URL and the exchange's status.",
)
STARTING: Final = Words(
    "The service is starting", "Wait: the first start of an embedded database takes up to half a minute."
)
STOPPING: Final = Words(
    "The service is stopping",
    "Nothing: what was received is being written. Start it again to go on recording.",
)

DATABASE_AWAY: Final = Words(
    "The database is away",
    "Bring PostgreSQL back, or correct DATABASE_URL (and DATABASE_URL_POOLED) and restart. Nothing is lost"
    " while the spool has room (RL_SPOOL_MAX_MB).",
)
DATABASE_REFUSES: Final = Words(
    "The database refuses what is written",
    "Mend what the reason names (a right, a missing table, the disk). The recorder repeats the write and"
    " needs no restart. Nothing is lost while the spool has room (RL_SPOOL_MAX_MB).",
)
DATABASE_AWAY_AND_SPOOL_FULL: Final = Words(
    "The database is away, and the spool is full",
    "Bring PostgreSQL back: then all that waits goes in. Don't restart before that, as what waits in memory"
    " would be lost; when memory is full too, receiving stops, and that hole is recorded.",
)
DATABASE_NEVER_REACHED: Final = Words(
    "The database was never reached",
    "Check DATABASE_URL: host, port, name, user and password, and that the server takes connections from"
    " here.",
)
SPOOL_FULL: Final = Words(
    "The spool is full",
    "It empties by itself while the database takes what comes. If it does not, the database is too slow: look"
    " at its load; a restart now would lose what waits in memory. Raise RL_SPOOL_MAX_MB with the next one.",
)
DISK_FULL: Final = Words(
    "The disk is full",
    "Make room on the disk under RL_SPOOL_DIR (now or with a larger volume): the spool goes on by itself.",
)
DISK_FAILS: Final = Words(
    "The disk does not take the spool",
    "Check the disk under RL_SPOOL_DIR and the permission to write there; the log has each failure.",
)
SPOOL_WAITS: Final = Words(
    "Frames wait in the spool",
    "Nothing while they become less. If they become more, the database is away or too slow: see `database` in"
    " /rl/status.",
)
SPOOL_DAMAGED: Final = Words(
    "Damaged records of the spool were left out",
    "Keep the files in RL_SPOOL_DIR that the log names, and run `collector verify` to see what is missing.",
)
SPOOL_REFUSED: Final = Words(
    "Batches that the database refuses were set aside",
    "Read the reason in the .txt file beside each .refused file in RL_SPOOL_DIR. When it is mended, let the"
    " file's name end in .spool: the next start writes it. Until then the recording has a hole there.",
)
SPOOL_KEEPS_NOTHING: Final = Words(
    "Written batches are not kept for the rewrite window",
    "Make room on the disk of RL_SPOOL_DIR, or raise RL_SPOOL_MAX_MB. Until then a database that loses its"
    " newest seconds makes a hole in the recording.",
)
PARTITIONS: Final = Words(
    "Partitions of the coming days are missing",
    "Read the log for PostgreSQL's reason (disk, permission to create tables), before that day begins.",
)
EVENT_LOOP: Final = Words(
    "The processor does not keep up",
    "Give this machine more processor time, or record fewer markets (RL_MARKET_TICKERS): receive times are"
    " off by as much.",
)
MESSAGE_AGE: Final = Words(
    "Messages are getting older",
    "Check the network and the exchange's status; if the event loop is late too, give this machine more"
    " processor time.",
)
CLOCK_SET: Final = Words(
    "This machine's clock was set",
    "Check NTP (`timedatectl`, `chronyc tracking`): receive times before and after can't be compared. This"
    " note goes away ten minutes after the last step.",
)
CLOCK_BEHIND: Final = Words(
    "This machine's clock is behind the exchange's", "Check NTP (`timedatectl`, `chronyc tracking`)."
)
MISMATCH: Final = Words(
    "An audit found a wrong book",
    "Run `collector verify{session}`: it folds the raw frames anew. The book was replaced by the exchange's"
    " own; rows of this market since its last matching audit (rl_orderbook_audits) are in doubt. Keep the raw"
    " frames, and report it.",
)
UNANSWERED: Final = Words(
    "Audits stay without an answer",
    "Books are compared less often than RL_AUDIT_INTERVAL says. Check whether markets in RL_MARKET_TICKERS"
    " are over, and whether the exchange refuses `get_snapshot` (rl_orderbook_rejects, the log).",
)
REJECTS: Final = Words(
    "Frames were not understood",
    "Read them in rl_orderbook_rejects. When the exchange has changed its messages, this program must be"
    " updated; the frames are kept verbatim and can be derived again.",
)
UNKNOWN_TYPES: Final = Words(
    "The exchange sends frames of an unknown type",
    "Nothing is lost: they are kept raw. Look whether the exchange has announced something, and update this"
    " program when they matter.",
)
