// A whole order book: bids left, asks right, the best on top, a bar for the size at each price and for all up to it.
import { memo } from "react";
import type { Book, Level } from "../books/book";
import { formatContracts, NOTHING } from "../shared/format";
import { Price } from "./Price";

interface LadderProps {
  readonly book: Book;
  /** The book is changed in place; this is what tells that it was. */
  readonly version: number;
}

export const Ladder = memo(function Ladder({ book }: LadderProps) {
  const bids = book.bids();
  const asks = book.asks();
  const rows = Math.max(bids.length, asks.length);
  if (rows === 0) {
    return (
      <p className="empty">
        {book.hasSnapshot ? "Nothing rests in this book." : "No book yet: its first snapshot is on its way."}
      </p>
    );
  }
  const sizeMax = [...bids, ...asks].reduce((most, level) => Math.max(most, level.sizeE2), 1);
  const totalMax = Math.max(bids.at(-1)?.totalE2 ?? 1, asks.at(-1)?.totalE2 ?? 1);
  return (
    <table className="ladder">
      <caption className="visually-hidden">
        Order book of {book.ticker}, YES, prices in cents and sizes in contracts, best first: {bids.length} bids,{" "}
        {asks.length} asks
      </caption>
      <thead>
        <tr>
          <th scope="col" className="number">
            Total
          </th>
          <th scope="col" className="number">
            Size
          </th>
          <th scope="col" className="number ladder-bid">
            Bid ¢
          </th>
          <th scope="col" className="ladder-ask">
            Ask ¢
          </th>
          <th scope="col" className="number">
            Size
          </th>
          <th scope="col" className="number">
            Total
          </th>
        </tr>
      </thead>
      <tbody>
        {Array.from({ length: rows }, (_, row) => (
          <tr key={row}>
            <BidCells level={bids[row]} sizeMax={sizeMax} totalMax={totalMax} />
            <AskCells level={asks[row]} sizeMax={sizeMax} totalMax={totalMax} />
          </tr>
        ))}
      </tbody>
    </table>
  );
});

interface CellsProps {
  readonly level: Level | undefined;
  readonly sizeMax: number;
  readonly totalMax: number;
}

/** A bar lies in the price's cell and reaches behind its side's three equal columns. */
function percent(part: number, whole: number): string {
  return `${((part / whole) * 300).toFixed(1)}%`;
}

function Bars({ level, sizeMax, totalMax }: CellsProps) {
  return (
    level && (
      <>
        <span className="bar bar-total" style={{ width: percent(level.totalE2, totalMax) }} aria-hidden="true" />
        <span className="bar bar-size" style={{ width: percent(level.sizeE2, sizeMax) }} aria-hidden="true" />
      </>
    )
  );
}

function BidCells({ level, sizeMax, totalMax }: CellsProps) {
  return (
    <>
      <td className="number ladder-total">{level === undefined ? "" : formatContracts(level.totalE2)}</td>
      <td className="number">{level === undefined ? "" : formatContracts(level.sizeE2)}</td>
      <td className="number ladder-bid">
        <Bars level={level} sizeMax={sizeMax} totalMax={totalMax} />
        {level === undefined ? <span className="soft">{NOTHING}</span> : <Price e4={level.priceE4} />}
      </td>
    </>
  );
}

function AskCells({ level, sizeMax, totalMax }: CellsProps) {
  return (
    <>
      <td className="ladder-ask">
        <Bars level={level} sizeMax={sizeMax} totalMax={totalMax} />
        {level === undefined ? <span className="soft">{NOTHING}</span> : <Price e4={level.priceE4} />}
      </td>
      <td className="number">{level === undefined ? "" : formatContracts(level.sizeE2)}</td>
      <td className="number ladder-total">{level === undefined ? "" : formatContracts(level.totalE2)}</td>
    </>
  );
}
