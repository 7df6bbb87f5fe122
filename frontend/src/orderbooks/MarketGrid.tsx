// All markets as a grid: virtual, sorted by any column, walked through with the arrow keys.
import { useVirtualizer } from "@tanstack/react-virtual";
import { useCallback, useEffect, useState } from "react";
import type { Book } from "../books/book";
import { type Column, COLUMNS, nextSorting, type Sorting } from "../books/order";
import { Icon } from "../shared/icons";
import { useRowFocus } from "../shared/row-focus";
import { useMedia } from "../shared/use-media";
import { ageOf, MarketRow } from "./MarketRow";

const ROW_PX = 32;
/** On a narrow screen a market takes two lines. */
const TALL_ROW_PX = 58;
export const NARROW = "(max-width: 47.99rem)";

export const COLUMN_TITLES: Readonly<Record<Column, string>> = {
  market: "Market",
  state: "State",
  bid: "Bid ¢",
  ask: "Ask ¢",
  spread: "Spread ¢",
  depth: "Depth",
  activity: "Changes / min",
  changed: "Changed",
};

/** What a title alone does not tell. */
const COLUMN_HINTS: Readonly<Partial<Record<Column, string>>> = {
  depth: "Contracts on both sides; of the bar, the dark part are bids and the light part asks",
  activity: "Changes of the last minute, counted since this page connected; the bars of all markets have one scale",
  changed: "Time since the last change, by the collector’s clock",
};

interface MarketGridProps {
  readonly books: readonly Book[];
  readonly sorting: Sorting;
  readonly setSorting: (sorting: Sorting) => void;
  readonly slot: number;
  readonly activityTop: number;
  /** The collector's time; null before the first statistics. */
  readonly nowMs: number | null;
  readonly opened: string | null;
  readonly open: (ticker: string) => void;
}

export function MarketGrid({ books, sorting, setSorting, slot, activityTop, nowMs, opened, open }: MarketGridProps) {
  const [scroller, setScroller] = useState<HTMLDivElement | null>(null);
  const isNarrow = useMedia(NARROW);
  const rowPx = isNarrow ? TALL_ROW_PX : ROW_PX;
  // eslint-disable-next-line react-hooks/incompatible-library -- its functions stay in this component
  const virtual = useVirtualizer({
    count: books.length,
    getScrollElement: () => scroller,
    estimateSize: () => rowPx,
    getItemKey: (index) => books[index]?.ticker ?? index,
    overscan: 8,
  });
  useEffect(() => virtual.measure(), [virtual, rowPx]);
  const scrollTo = useCallback((row: number) => virtual.scrollToIndex(row), [virtual]);
  const { row, setRow, listRef, onKeyDown } = useRowFocus(books.length, scrollTo);
  const rows = virtual.getVirtualItems();
  const gutterPx = useGutter(scroller);
  const tabRow = rows.some(({ index }) => index === row) ? row : rows[0]?.index;
  return (
    <div
      className="market-grid"
      role="grid"
      aria-label="Markets"
      aria-rowcount={books.length + 1}
      aria-colcount={COLUMNS.length}
      aria-readonly="true"
    >
      <div role="rowgroup" className="market-head-group">
        <div role="row" aria-rowindex={1} className="market-head" style={{ marginRight: gutterPx }}>
          {COLUMNS.map((column) => (
            <Heading key={column} column={column} sorting={sorting} setSorting={setSorting} />
          ))}
        </div>
      </div>
      <div role="presentation" className="market-scroll" ref={setScroller}>
        {/* The keys belong to the rows, which are focused one at a time; their group hears them all. */}
        {/* eslint-disable-next-line jsx-a11y/no-noninteractive-element-interactions */}
        <div
          role="rowgroup"
          ref={listRef}
          className="market-rows"
          style={{ height: virtual.getTotalSize() }}
          onKeyDown={onKeyDown}
        >
          {rows.map(({ index, start }) => {
            const book = books[index];
            return (
              book && (
                <MarketRow
                  key={book.ticker}
                  book={book}
                  version={book.version}
                  slot={slot}
                  activityTop={activityTop}
                  age={ageOf(book, nowMs)}
                  index={index}
                  start={start}
                  isOpen={book.ticker === opened}
                  isInTabOrder={index === tabRow}
                  open={open}
                  onFocus={setRow}
                />
              )
            );
          })}
        </div>
      </div>
    </div>
  );
}

/** The width of an element's own scroll bar, which what stands above it has to leave free. */
function useGutter(scroller: HTMLElement | null): number {
  const [gutterPx, setGutterPx] = useState(0);
  useEffect(() => {
    if (scroller === null) {
      return undefined;
    }
    const observer = new ResizeObserver(() => {
      setGutterPx(Math.max(0, scroller.offsetWidth - scroller.clientWidth));
    });
    observer.observe(scroller);
    return () => observer.disconnect();
  }, [scroller]);
  return gutterPx;
}

interface HeadingProps {
  readonly column: Column;
  readonly sorting: Sorting;
  readonly setSorting: (sorting: Sorting) => void;
}

const TEXT_COLUMNS: readonly Column[] = ["market", "state"];

function Heading({ column, sorting, setSorting }: HeadingProps) {
  const isSorted = sorting.column === column;
  const order = sorting.isDescending ? "descending" : "ascending";
  return (
    <span
      role="columnheader"
      aria-sort={isSorted ? order : "none"}
      className={`c-${column} ${TEXT_COLUMNS.includes(column) ? "" : "number"}`}
    >
      <button type="button" title={COLUMN_HINTS[column]} onClick={() => setSorting(nextSorting(sorting, column))}>
        {COLUMN_TITLES[column]}
        {isSorted && <Icon name={sorting.isDescending ? "down" : "up"} />}
      </button>
    </span>
  );
}
