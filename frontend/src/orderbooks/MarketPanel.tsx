// One market, opened: its state, its best prices, and its whole ladder, live.
import { useEffect, useRef, type ReactNode } from "react";
import type { Book } from "../books/book";
import { AsOf } from "../shared/as-of";
import { formatClock, formatCount, formatShort, NOTHING } from "../shared/format";
import { Icon } from "../shared/icons";
import { ScrollRegion } from "../shared/ScrollRegion";
import { ActivityBars } from "./ActivityBars";
import { Ladder } from "./Ladder";
import { ageOf, BookState } from "./MarketRow";
import { Price } from "./Price";

interface MarketPanelProps {
  readonly ticker: string;
  readonly book: Book | undefined;
  /** Whether the collector has told which markets there are. */
  readonly isListed: boolean;
  readonly version: number;
  readonly slot: number;
  readonly activityTop: number;
  readonly nowMs: number | null;
  readonly close: () => void;
}

export function MarketPanel({ ticker, book, isListed, version, slot, activityTop, nowMs, close }: MarketPanelProps) {
  const heading = useRef<HTMLHeadingElement>(null);
  useEffect(() => {
    heading.current?.focus({ preventScroll: true });
  }, [ticker]);
  return (
    <section className="market-panel" aria-labelledby="market-title">
      <header className="market-panel-head">
        <button
          type="button"
          className="icon-button market-panel-back"
          onClick={close}
          aria-label="Back to all markets"
        >
          <Icon name="back" />
        </button>
        <h2 id="market-title" ref={heading} tabIndex={-1} className="ticker">
          {ticker}
        </h2>
        <AsOf />
        <button
          type="button"
          className="icon-button market-panel-close"
          onClick={close}
          aria-label="Close"
          title="Close (Esc)"
        >
          <Icon name="close" />
        </button>
      </header>
      {book === undefined ? (
        <p className="empty">{isListed ? "This market is not recorded here." : "Waiting for the collector…"}</p>
      ) : (
        <>
          <Summary book={book} slot={slot} activityTop={activityTop} nowMs={nowMs} />
          <ScrollRegion className="ladder-scroll" name="Order book">
            <Ladder book={book} version={version} />
          </ScrollRegion>
        </>
      )}
    </section>
  );
}

function Item({ name, children }: { readonly name: string; readonly children: ReactNode }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  );
}

interface SummaryProps {
  readonly book: Book;
  readonly slot: number;
  readonly activityTop: number;
  readonly nowMs: number | null;
}

function Summary({ book, slot, activityTop, nowMs }: SummaryProps) {
  return (
    <>
      <div className="market-quote">
        <div className="quote-bid">
          <span className="quote-name">Bid ¢</span>
          <span className="quote-price">
            <Price e4={book.bidE4} />
          </span>
        </div>
        <div className="quote-spread">
          <span className="quote-name">Spread ¢</span>
          <span className="quote-price">
            <Price e4={book.spreadE4} />
          </span>
        </div>
        <div className="quote-ask">
          <span className="quote-name">Ask ¢</span>
          <span className="quote-price">
            <Price e4={book.askE4} />
          </span>
        </div>
      </div>
      <dl className="market-facts">
        <Item name="State">
          <BookState book={book} />
        </Item>
        <Item name="Changed">
          {ageOf(book, nowMs)}
          {book.changedAtMs !== null && <span className="soft"> {formatClock(book.changedAtMs)}</span>}
        </Item>
        <Item name="Depth, bids / asks">
          {book.hasSnapshot ? `${formatShort(book.bidDepthE2)} / ${formatShort(book.askDepthE2)}` : NOTHING}
        </Item>
        <Item name="Changes / min">
          {formatCount(book.activity.total(slot))} <ActivityBars bars={book.activity.bars(slot)} top={activityTop} />
        </Item>
        <Item name="Sequence">{formatCount(book.sequence)}</Item>
      </dl>
    </>
  );
}
