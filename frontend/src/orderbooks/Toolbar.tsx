// Which markets are listed: by text, by state; and, where there are no headings to click, in what order.
import type { RefObject } from "react";
import { type Column, COLUMNS, type Filter, type Sorting, type StateFilter } from "../books/order";
import { AsOf } from "../shared/as-of";
import { formatCount } from "../shared/format";
import { Icon } from "../shared/icons";
import { COLUMN_TITLES } from "./MarketGrid";

export interface Counts {
  readonly all: number;
  readonly exact: number;
  readonly unknown: number;
}

const STATES: readonly { readonly state: StateFilter; readonly name: string }[] = [
  { state: "all", name: "All" },
  { state: "exact", name: "Exact" },
  { state: "unknown", name: "Unknown" },
];

interface ToolbarProps {
  readonly filter: Filter;
  readonly setFilter: (filter: Filter) => void;
  readonly sorting: Sorting;
  readonly setSorting: (sorting: Sorting) => void;
  readonly counts: Counts;
  readonly listed: number;
  readonly searchRef: RefObject<HTMLInputElement | null>;
}

export function Toolbar({ filter, setFilter, sorting, setSorting, counts, listed, searchRef }: ToolbarProps) {
  return (
    <div className="toolbar" role="search">
      <label className="search">
        <Icon name="search" />
        <span className="visually-hidden">Find markets</span>
        <input
          ref={searchRef}
          type="search"
          value={filter.text}
          placeholder="Find markets"
          autoComplete="off"
          spellCheck={false}
          onChange={(event) => setFilter({ ...filter, text: event.target.value })}
        />
        <kbd aria-hidden="true">/</kbd>
      </label>
      <label className="sort-choice">
        <span className="visually-hidden">Sort by</span>
        <select
          value={`${sorting.column} ${sorting.isDescending ? "down" : "up"}`}
          onChange={(event) => {
            const [column, way] = event.target.value.split(" ");
            setSorting({ column: column as Column, isDescending: way === "down" });
          }}
        >
          {COLUMNS.flatMap((column) => [
            <option key={`${column} up`} value={`${column} up`}>{`${COLUMN_TITLES[column]} ↑`}</option>,
            <option key={`${column} down`} value={`${column} down`}>{`${COLUMN_TITLES[column]} ↓`}</option>,
          ])}
        </select>
      </label>
      <div className="segmented" role="group" aria-label="State">
        {STATES.map(({ state, name }) => (
          <button
            key={state}
            type="button"
            aria-pressed={filter.state === state}
            onClick={() => setFilter({ ...filter, state })}
          >
            {name} <span className="count">{formatCount(counts[state])}</span>
          </button>
        ))}
      </div>
      <AsOf />
      <p className="depth-legend" aria-hidden="true">
        Depth <span className="key key-bids">bids</span> <span className="key key-asks">asks</span>
      </p>
      <p className="listed" role="status">
        {listed === counts.all ? "" : `${formatCount(listed)} shown`}
      </p>
    </div>
  );
}
