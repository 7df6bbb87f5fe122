// One market in the grid. Drawn anew only when its version, its age in seconds or its place has changed.
import { memo, type MouseEvent } from "react";
import type { Book } from "../books/book";
import { causeWords, UNFOLLOWED } from "../shared/causes";
import { formatAge, formatCount, formatShort, NOTHING } from "../shared/format";
import { StateTag } from "../shared/StateTag";
import { ActivityBars } from "./ActivityBars";
import { marketHref } from "./market-param";
import { Price } from "./Price";

interface MarketRowProps {
  readonly book: Book;
  /** The book is changed in place; this is what tells that it was. */
  readonly version: number;
  readonly slot: number;
  /** The count of changes that fills a bar's height. */
  readonly activityTop: number;
  readonly age: string;
  readonly index: number;
  readonly start: number;
  readonly isOpen: boolean;
  readonly isInTabOrder: boolean;
  readonly open: (ticker: string) => void;
  readonly onFocus: (index: number) => void;
}

export const MarketRow = memo(function MarketRow({
  book,
  slot,
  activityTop,
  age,
  index,
  start,
  isOpen,
  isInTabOrder,
  open,
  onFocus,
}: MarketRowProps) {
  const { ticker, hasSnapshot } = book;
  const total = book.activity.total(slot);
  const openHere = (event: MouseEvent) => {
    // With a modifier, a link is a link: a new tab, a download.
    if (!event.metaKey && !event.ctrlKey && !event.shiftKey) {
      event.preventDefault();
      open(ticker);
    }
  };
  return (
    <div
      role="row"
      aria-rowindex={index + 2}
      aria-selected={isOpen}
      data-row={index}
      tabIndex={isInTabOrder ? 0 : -1}
      className="market-row"
      data-state={book.isExact ? "exact" : hasSnapshot ? "unknown" : "waiting"}
      style={{ transform: `translateY(${start}px)` }}
      onFocus={() => onFocus(index)}
      onClick={openHere}
      onKeyDown={(event) => {
        if (event.key === "Enter") {
          event.preventDefault();
          open(ticker);
        }
      }}
    >
      <span role="rowheader" className="c-market">
        <a href={marketHref(ticker)} tabIndex={-1} className="ticker" title={ticker}>
          {ticker}
        </a>
      </span>
      <span role="gridcell" className="c-state">
        <BookState book={book} />
      </span>
      <span role="gridcell" className="c-bid number">
        <Price e4={book.bidE4} />
      </span>
      <span role="gridcell" className="c-ask number">
        <Price e4={book.askE4} />
      </span>
      <span role="gridcell" className="c-spread number">
        <Price e4={book.spreadE4} />
      </span>
      <span role="gridcell" className="c-depth number">
        <Balance book={book} />
        <span>{hasSnapshot ? formatShort(book.depthE2) : NOTHING}</span>
      </span>
      <span role="gridcell" className="c-activity number">
        <ActivityBars bars={book.activity.bars(slot)} top={activityTop} />
        <span>{formatCount(total)}</span>
      </span>
      <span role="gridcell" className="c-changed number">
        {age}
      </span>
    </div>
  );
});

export function BookState({ book }: { readonly book: Book }) {
  if (book.unknownCause === null) {
    return <StateTag tone="good">exact</StateTag>;
  }
  const isLost = book.hasSnapshot && book.unknownCause !== UNFOLLOWED;
  return <StateTag tone={isLost ? "degraded" : "waiting"}>{causeWords(book.unknownCause)}</StateTag>;
}

/** How the depth is shared between bids, from the left, and asks. */
function Balance({ book }: { readonly book: Book }) {
  const share = book.depthE2 === 0 ? null : Math.round((book.bidDepthE2 / book.depthE2) * 40);
  return (
    <svg className="balance" viewBox="0 0 40 6" preserveAspectRatio="none" aria-hidden="true">
      {share !== null && (
        <>
          <rect className="balance-bid" width={share} height={6} />
          <rect className="balance-ask" x={share + 1} width={Math.max(0, 39 - share)} height={6} />
        </>
      )}
    </svg>
  );
}

export function ageOf(book: Book, nowMs: number | null): string {
  return book.changedAtMs === null || nowMs === null ? NOTHING : formatAge(Math.max(0, nowMs - book.changedAtMs));
}
