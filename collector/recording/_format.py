"""What reading back has found, as lines and as JSON objects. Pure."""

from typing import Any

from attrs import asdict

from collector.protocol import Levels, format_contracts, format_dollars
from collector.recording._findings import ADVICE, Findings
from collector.recording._rebuild import RebuiltBook, iso_us
from collector.recording._rederive import RederiveReport
from collector.recording._session_report import SessionReport
from collector.recording._verify import Verdict


def book_as_json(book: RebuiltBook) -> dict[str, Any]:
    """A book with prices in 1/10,000 dollar and sizes in 1/100 contract, best bids first."""
    return {
        "market_ticker": book.market_ticker,
        "at_us": book.at_us,
        "session_id": book.session_id,
        "session_key": book.session_key,
        "sequence_number": book.sequence_number,
        "as_of_us": book.as_of_us,
        "is_exact": book.is_exact,
        "unknown_cause": book.unknown_cause,
        "source": book.source,
        "sample_rate": book.sample_rate,
        "yes_bids": _descending(book.yes_bids),
        "no_bids": _descending(book.no_bids),
    }


def book_lines(book: RebuiltBook) -> list[str]:
    """A book for the eye: dollars and contracts."""
    state = (
        "exact" if book.is_exact else f"UNKNOWN ({book.unknown_cause}): this is the last that was recorded"
    )
    origin = "rows" if book.source == "rows" else "raw frames, since retention has dropped the rows"
    lines = [
        f"{book.market_ticker} at {iso_us(book.at_us)}: {state}",
        f"  session {book.session_id} {book.session_key}, sequence number {book.sequence_number},"
        f" as of {iso_us(book.as_of_us)}, rebuilt from {origin}",
    ]
    if book.sample_rate > 1:
        lines.append(f"  rows were thinned to one in {book.sample_rate}: true at that sequence number")
    for side, levels in (("yes", book.yes_bids), ("no", book.no_bids)):
        lines.append(f"  {side} bids: {len(levels) or 'none'}")
        lines += [
            f"    {format_dollars(price_e4)} {format_contracts(size_e2):>14}"
            for price_e4, size_e2 in _descending(levels).items()
        ]
    return lines


def rederive_lines(report: RederiveReport) -> list[str]:
    """What became of a session, then what differed, kind by kind."""
    if report.refusal is not None:
        return [
            f"session {report.session_id} {report.session_key}: REFUSED, nothing replaced: {report.refusal}"
        ]
    done = "replaced" if report.is_applied else "not replaced (dry run)"
    difference = "the rows differ" if report.is_different else "no difference"
    lines = [f"session {report.session_id} {report.session_key}: {difference}; {done}"]
    for kind, counts in report.kinds.items():
        if counts.missing or counts.extra:
            lines.append(
                f"  {kind} rows: {counts.there} were there, {counts.derived} derived;"
                f" {counts.missing} were missing or changed, {counts.extra} were extra or changed"
            )
    return lines


def report_as_json(report: SessionReport) -> dict[str, Any]:
    """The report of a session, with what each finding means and the next step."""
    values = asdict(report, filter=lambda attribute, _: attribute.name != "found")
    return {**values, "is_good": report.is_good, **_findings_as_json(report.found)}


def verdict_as_json(verdict: Verdict) -> dict[str, Any]:
    """What was found about the chain and the tables, without the sessions."""
    return {
        "entries": verdict.entries,
        "head": verdict.head,
        "notes": verdict.notes,
        "is_good": not verdict.found.found,
        **_findings_as_json(verdict.found),
    }


def report_lines(report: SessionReport) -> list[str]:
    """The report of a session for a person."""
    verdict = "good" if report.is_good else "NOT GOOD"
    return [
        f"session {report.session_id} {report.session_key} ({report.status}): {verdict};"
        f" {report.frames} frames in {report.batches} batches, {report.gaps} recorded gaps",
        *(f"  {note}" for note in report.notes),
        *_finding_lines(report.found),
    ]


def verdict_lines(verdict: Verdict) -> list[str]:
    """What was found about the chain and the tables, for a person."""
    words = "NOT GOOD" if verdict.found.found else "good"
    return [
        f"chain and tables: {words}; {verdict.entries} entries, newest hash {verdict.head or '-'}",
        *(f"  {note}" for note in verdict.notes),
        *_finding_lines(verdict.found),
    ]


def _findings_as_json(findings: Findings) -> dict[str, Any]:
    return {
        "findings": [{**asdict(each), **asdict(ADVICE[each.kind])} for each in findings.found],
        "findings_left_out": findings.left_out,
    }


def _finding_lines(findings: Findings) -> list[str]:
    lines: list[str] = []
    for kind in dict.fromkeys(finding.kind for finding in findings.found):
        advice = ADVICE[kind]
        lines += [f"  {finding.text}" for finding in findings.found if finding.kind is kind]
        lines.append(f"    {kind}: {advice.meaning}. Next: {advice.next_step}.")
    if findings.left_out:
        lines.append(f"  and {findings.left_out} more")
    return lines


def _descending(levels: Levels) -> Levels:
    return {price_e4: levels[price_e4] for price_e4 in sorted(levels, reverse=True)}
