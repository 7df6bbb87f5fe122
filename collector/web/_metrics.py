"""
The recorder's numbers for Prometheus, collected from the state at the moment they are asked for.

A registry of our own: the library's global one belongs to whoever else is in the process. Pure but for the
process numbers that prometheus_client reads from the system.
"""

from collections.abc import Iterable, Iterator

from attrs import frozen
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from collector.facts import FRAME_COUNTS
from collector.live import LiveHub
from collector.observe import AgeSum, FeedPhase, RecorderState, StorePhase
from collector.web._stats import count_reconnections

_PREFIX = "collector_"
_LE_FIRST, _LE_LAST = 6, 28
"""Buckets that are shown: from 64 µs to four and a half minutes. Each bound is twice the one before it."""


@frozen
class StateCollector(Collector):
    """Turns the state into metric families."""

    state: RecorderState
    hub: LiveHub

    def collect(self) -> Iterator[Metric]:
        """All families; called for every scrape."""
        state = self.state
        build = {
            "version": state.code_version,
            "environment": state.environment,
            "is_simulated": str(state.is_simulated).lower(),
        }
        yield InfoMetricFamily(f"{_PREFIX}build", "What runs.", value=build)
        yield self._frames()
        yield _counter("gaps", "Holes after which books are unknown until a new snapshot.", state.gaps)
        yield _counter("audits", "Books compared with the exchange's own.", state.audits)
        yield _counter("audit_mismatches", "Books that were not the exchange's.", state.audit_mismatches)
        yield _counter("rows_written", "Rows that are in the database.", state.rows_written)
        yield _counter("reconnections", "Connections made again.", count_reconnections(state))
        yield _counter("store_write_failures", "Writes that had to be repeated.", state.store.write_failures)
        yield _counter(
            "store_repeated_batches",
            "Batches written again after the database had lost some.",
            state.store.repeated_batches,
        )
        yield _counter(
            "store_losses", "Times that the database lost batches permanently.", state.store.losses
        )
        yield _counter("live_messages_dropped", "Messages that slow clients missed.", self.hub.dropped)
        yield _gauge("live_clients", "Clients of the live stream.", self.hub.clients)
        yield _gauge("start_time_seconds", "When the recorder started.", state.started_us / 1e6)
        yield _gauge("markets_tracked", "Markets that are to be recorded.", len(state.tickers))
        yield _gauge("markets_exact", "Markets whose book is exact now.", state.exact_markets)
        yield _gauge("event_loop_lag_seconds", "Lateness of the last tick.", state.loop_lag_ms / 1000)
        yield _counter("clock_steps", "How often the wall clock was set.", state.wall_clock.steps)
        yield from self._ages()
        yield from self._store()
        yield from self._spool()
        yield from self._feeds()
        yield from self._sessions()

    def _frames(self) -> CounterMetricFamily:
        family = CounterMetricFamily(
            f"{_PREFIX}frames", "Frames of the exchange by what became of them.", labels=["kind"]
        )
        counts = self.state.received
        for name, count in zip(FRAME_COUNTS, counts.values(), strict=True):
            family.add_metric([name], count)
        return family

    def _ages(self) -> Iterable[Metric]:
        whats = {
            "exchange_to_receive": "From the exchange's own time of a message to its arrival.",
            "exchange_to_send": "From the exchange's own time of a message to when it sent the frame.",
            "send_to_receive": "From when the exchange sent a frame to its arrival.",
            "receive_to_book": "From a frame's arrival to its book.",
            "receive_to_commit": "From a frame's arrival to its place in the database.",
        }
        sums = self.state.age_sums()
        for name, what in whats.items():
            yield _histogram(name, what, sums[name])
        ahead = sums["exchange_to_receive"].ahead
        yield _counter("messages_ahead", "Messages that came before the time they carry.", ahead)
        growing = GaugeMetricFamily(
            f"{_PREFIX}message_age_growing", "1 while the feed's messages get older.", labels=["feed"]
        )
        for session in self.state.sessions:
            if session.status == "active":
                growing.add_metric([session.feed_name], float(session.age_trend.is_alarming))
        yield growing

    def _spool(self) -> Iterable[Metric]:
        spool = self.state.spool
        yield _gauge("spool_bytes", "What waits on disk for the database.", spool.bytes)
        yield _gauge("spool_bytes_max", "How much may wait on disk.", spool.bytes_max)
        yield _gauge("spool_kept_bytes", "What is written and kept for the rewrite window.", spool.kept_bytes)
        yield _gauge(
            "spool_records", "Records of this process that wait on disk for the database.", spool.records
        )
        yield _gauge("spool_full", "1 while the disk takes nothing more.", float(spool.is_full))
        yield _gauge("spool_damaged_files", "Spool files that can't be read.", spool.damaged_files)
        yield _gauge("spool_refused_batches", "Batches that were set aside.", spool.refused_batches)
        yield _counter("spool_torn_records", "Records that were cut off by a crash.", spool.torn_records)
        yield _counter(
            "spool_drained_records", "Records that went on into the database.", spool.drained_records
        )

    def _store(self) -> Iterable[GaugeMetricFamily]:
        store = self.state.store
        phases = GaugeMetricFamily(
            f"{_PREFIX}store_phase", "1 for the phase PostgreSQL is in.", labels=["phase"]
        )
        for phase in StorePhase:
            phases.add_metric([phase.value], float(phase is store.phase))
        yield phases
        yield _gauge("partitions_missing", "1 while partitions are missing.", float(store.partitions_missing))
        queued = sum(session.queued_frames for session in self.state.sessions)
        yield _gauge("queued_frames", "Frames that wait for the database.", queued)

    def _feeds(self) -> Iterable[GaugeMetricFamily]:
        phases = GaugeMetricFamily(
            f"{_PREFIX}feed_phase", "1 for the phase the feed is in.", labels=["feed", "phase"]
        )
        for feed in self.state.feeds:
            for phase in FeedPhase:
                phases.add_metric([feed.name, phase.value], float(phase is feed.phase))
        yield phases

    def _sessions(self) -> Iterable[GaugeMetricFamily]:
        # Ended sessions would make a new time series each: only those that live have one, under their feed.
        active = [session for session in self.state.sessions if session.status == "active"]
        ages = GaugeMetricFamily(
            f"{_PREFIX}message_age_seconds", "Time since the feed's newest frame.", labels=["feed"]
        )
        writes = GaugeMetricFamily(
            f"{_PREFIX}write_seconds", "How long the feed's last write took.", labels=["feed"]
        )
        now_us = self.state.clock()
        for session in active:
            if session.last_message_us is not None:
                ages.add_metric([session.feed_name], max(0, now_us - session.last_message_us) / 1e6)
            if session.write_ms_last is not None:
                writes.add_metric([session.feed_name], session.write_ms_last / 1000)
        yield ages
        yield writes


def make_registry(state: RecorderState, hub: LiveHub) -> CollectorRegistry:
    """A registry with the state's numbers and the process's own."""
    registry = CollectorRegistry()
    registry.register(StateCollector(state, hub))
    ProcessCollector(registry=registry)
    return registry


def _counter(name: str, what: str, value: float) -> CounterMetricFamily:
    return CounterMetricFamily(f"{_PREFIX}{name}", what, value=value)


def _histogram(name: str, what: str, ages: AgeSum) -> HistogramMetricFamily:
    buckets: list[tuple[str, float]] = []
    passed = 0
    for bucket, count in enumerate(ages.counts):
        passed += count
        if _LE_FIRST <= bucket <= _LE_LAST:
            buckets.append((repr(2**bucket / 1e6), passed))
    buckets.append(("+Inf", passed))
    return HistogramMetricFamily(f"{_PREFIX}{name}_seconds", what, buckets, sum_value=ages.sum_us / 1e6)


def _gauge(name: str, what: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"{_PREFIX}{name}", what, value=value)
