// When the markets' books were exact, by the database: a summary, then every market, the worst first.
import { useVirtualizer } from "@tanstack/react-virtual";
import { useCallback, useId, useMemo, useState } from "react";
import type { CoverageData } from "../protocol/messages";
import { hasKey } from "../shared/fetching";
import { causeWords, UNFOLLOWED } from "../shared/causes";
import { formatClock, formatMinute, formatMoment, formatMs, formatShare, NOTHING, plural } from "../shared/format";
import { Panel } from "../shared/Panel";
import { useRowFocus } from "../shared/row-focus";
import { usePolled } from "../shared/use-polled";
import { type CoverageView, type MarketStrip, viewCoverage } from "./coverage-model";
import { CoverageStrip, CoverageSum } from "./CoverageStrip";

const SPANS = [
  { minutes: 15, name: "15 min" },
  { minutes: 60, name: "1 h" },
  { minutes: 360, name: "6 h" },
  { minutes: 1440, name: "24 h" },
] as const;
const EVERY_MS = 20_000;
/** The first answers after a start are of its first second, and soon tell nothing of the present any more. */
const EVERY_MS_YOUNG = 5_000;
const ROW_PX = 26;
const INTERVALS_SHOWN = 6;
const SHORT_MS = 600_000;

const isCoverage = hasKey<CoverageData>("markets");

interface CoverageProps {
  readonly httpUrl: (path: string) => string;
  readonly round: number;
  readonly isActive: boolean;
  /** Whether the collector has just started. */
  readonly isYoung: boolean;
}

export function Coverage({ httpUrl, round, isActive, isYoung }: CoverageProps) {
  const [minutes, setMinutes] = useState<number>(SPANS[0].minutes);
  const everyMs = isYoung ? EVERY_MS_YOUNG : EVERY_MS;
  const { data, error } = usePolled(httpUrl(`/rl/coverage?minutes=${minutes}`), isCoverage, everyMs, round, isActive);
  const view = useMemo(() => (data === null ? null : viewCoverage(data)), [data]);
  const choice = (
    <div className="segmented" role="group" aria-label="Time span">
      {SPANS.map((span) => (
        <button
          key={span.minutes}
          type="button"
          aria-pressed={span.minutes === minutes}
          onClick={() => setMinutes(span.minutes)}
        >
          {span.name}
        </button>
      ))}
    </div>
  );
  return (
    <Panel title="Coverage" className="coverage" aside={choice}>
      {error !== "" && (
        <p className="panel-note tone-degraded">
          Coverage can&rsquo;t be asked now
          {view !== null && `, what follows is as of ${formatClock(view.toMs)}`}: {error}
        </p>
      )}
      {view === null && error === "" && (
        <p className="empty">{isActive ? "Asking the database…" : "Waiting for the collector…"}</p>
      )}
      {view !== null &&
        (view.exactShare === null ? (
          <p className="empty">Nothing was recorded in this time.</p>
        ) : (
          <CoverageBody key={minutes} view={view} />
        ))}
    </Panel>
  );
}

function CoverageBody({ view }: { readonly view: CoverageView }) {
  const [chosen, setChosen] = useState<string | null>(null);
  const strip = view.strips.find(({ ticker }) => ticker === chosen) ?? view.strips[0];
  // Within a few minutes, times without seconds would tell the same one twice.
  const formatTick = view.toMs - view.fromMs < SHORT_MS ? formatClock : formatMinute;
  return (
    <>
      <p className="coverage-sum-words">{summarise(view)}</p>
      <div className="coverage-grid">
        <div className="coverage-head" aria-hidden="true">
          <span>All markets</span>
          <CoverageSum cells={view.sum} />
          <span className="number">{view.exactShare === null ? NOTHING : formatShare(view.exactShare)}</span>
        </div>
        <StripList view={view} chosen={strip?.ticker ?? null} choose={setChosen} />
        <div className="coverage-axis" aria-hidden="true">
          <span />
          <span className="coverage-times">
            <span>{formatTick(view.fromMs)}</span>
            <span>{formatTick((view.fromMs + view.toMs) / 2)}</span>
            <span>{formatTick(view.toMs)}</span>
          </span>
          <span />
        </div>
      </div>
      <p className="coverage-legend" aria-hidden="true">
        <span className="key key-exact">exact</span>
        <span className="key key-unknown">unknown</span>
        {view.leftMs > 0 && <span className="key key-left">{causeWords(UNFOLLOWED)}</span>}
        <span className="key key-none">not recorded</span>
      </p>
      {strip !== undefined && <StripDetail strip={strip} nowMs={view.toMs} />}
    </>
  );
}

function summarise(view: CoverageView): string {
  const { strips, wholeMarkets, causes, leftMs } = view;
  const all = strips.length;
  const sentences = [
    wholeMarkets === all
      ? `All ${plural(all, "market")} exact from the first book on.`
      : `${wholeMarkets} of ${plural(all, "market")} exact from the first book on, worst first.`,
  ];
  if (causes.length > 0) {
    const told = causes.map(([cause, ms]) => `${causeWords(cause)} ${formatMs(ms)}`);
    sentences.push(`Unknown time, added up over all markets: ${told.join("; ")}.`);
  }
  if (leftMs > 0) {
    sentences.push(`Besides, ${causeWords(UNFOLLOWED)}: ${formatMs(leftMs)}.`);
  }
  if (view.firstMs !== null) {
    sentences.push(`Nothing was recorded before ${formatMoment(view.firstMs, view.toMs)}.`);
  }
  return sentences.join(" ");
}

interface StripListProps {
  readonly view: CoverageView;
  readonly chosen: string | null;
  readonly choose: (ticker: string) => void;
}

function StripList({ view, chosen, choose }: StripListProps) {
  const { strips } = view;
  const [scroller, setScroller] = useState<HTMLDivElement | null>(null);
  // eslint-disable-next-line react-hooks/incompatible-library -- its functions stay in this component
  const virtual = useVirtualizer({
    count: strips.length,
    getScrollElement: () => scroller,
    estimateSize: () => ROW_PX,
    overscan: 6,
  });
  const scrollTo = useCallback((row: number) => virtual.scrollToIndex(row), [virtual]);
  const { row, setRow, listRef, onKeyDown } = useRowFocus(strips.length, scrollTo);
  const rows = virtual.getVirtualItems();
  const tabRow = rows.some(({ index }) => index === row) ? row : rows[0]?.index;
  const helpId = useId();
  return (
    <div className="coverage-scroll" ref={setScroller}>
      <p id={helpId} className="visually-hidden">
        Arrow keys go from market to market; the chosen one is told below.
      </p>
      <div
        ref={listRef}
        role="listbox"
        tabIndex={-1}
        aria-label="Coverage by market, worst first"
        aria-describedby={helpId}
        className="coverage-list"
        style={{ height: virtual.getTotalSize() }}
        onKeyDown={onKeyDown}
      >
        {rows.map(({ index, start }) => {
          const strip = strips[index];
          return (
            strip && (
              <div
                key={strip.ticker}
                role="option"
                aria-selected={strip.ticker === chosen}
                aria-setsize={strips.length}
                aria-posinset={index + 1}
                data-row={index}
                tabIndex={index === tabRow ? 0 : -1}
                className="coverage-row"
                style={{ transform: `translateY(${start}px)` }}
                onFocus={() => {
                  setRow(index);
                  choose(strip.ticker);
                }}
                onPointerEnter={() => choose(strip.ticker)}
              >
                <span className="ticker">{strip.ticker}</span>
                <CoverageStrip cells={strip.cells} />
                <span className="number">{strip.exactShare === null ? NOTHING : formatShare(strip.exactShare)}</span>
                <span className="visually-hidden">{tell(strip)}</span>
              </div>
            )
          );
        })}
      </div>
    </div>
  );
}

/** What the strip shows, after the market's name and share. */
function tell(strip: MarketStrip): string {
  if (strip.exactShare === null) {
    return "not recorded in this time";
  }
  const why =
    strip.mainCause === null ? "" : `, unknown for ${formatMs(strip.unknownMs)}, mostly ${causeWords(strip.mainCause)}`;
  return `exact${why}`;
}

function StripDetail({ strip, nowMs }: { readonly strip: MarketStrip; readonly nowMs: number }) {
  const shown = strip.unknowns.slice(0, INTERVALS_SHOWN);
  const more = strip.unknowns.length - shown.length;
  return (
    <div className="coverage-detail">
      <b className="ticker">{strip.ticker}</b>
      {shown.length === 0 ? (
        <span>{strip.exactShare === null ? "not recorded in this time" : "never unknown in this time"}</span>
      ) : (
        <ul>
          {shown.map((interval) => (
            <li key={interval.from_ms}>
              {formatMoment(interval.from_ms, nowMs)} for {formatMs(interval.to_ms - interval.from_ms)}{" "}
              <span className="soft">{causeWords(interval.cause ?? "unknown")}</span>
            </li>
          ))}
          {more > 0 && <li className="soft">and {plural(more, "earlier time")}</li>}
        </ul>
      )}
    </div>
  );
}
