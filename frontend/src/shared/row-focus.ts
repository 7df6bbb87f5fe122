// Moves the focus along the rows of a virtual list by keys: one row is in the tab order, arrows go on from there.
import { useCallback, useRef, useState, type KeyboardEvent, type RefObject } from "react";

const PAGE_ROWS = 10;

/** Where a key leads from a row; null when it is not a key for rows. Pure. */
export function nextRow(key: string, row: number, count: number): number | null {
  const last = count - 1;
  switch (key) {
    case "ArrowDown":
      return Math.min(last, row + 1);
    case "ArrowUp":
      return Math.max(0, row - 1);
    case "PageDown":
      return Math.min(last, row + PAGE_ROWS);
    case "PageUp":
      return Math.max(0, row - PAGE_ROWS);
    case "Home":
      return 0;
    case "End":
      return last;
    default:
      return null;
  }
}

export interface RowFocus {
  /** The row that the tab key reaches. */
  readonly row: number;
  readonly setRow: (row: number) => void;
  readonly listRef: RefObject<HTMLDivElement | null>;
  readonly onKeyDown: (event: KeyboardEvent) => void;
}

/** `scrollTo` makes a row exist; rows carry their index as data-row. */
export function useRowFocus(count: number, scrollTo: (row: number) => void): RowFocus {
  const [chosen, setRow] = useState(0);
  const row = Math.max(0, Math.min(chosen, count - 1));
  const listRef = useRef<HTMLDivElement>(null);
  // Where the focus is on its way to: keys can come faster than rows come into being.
  const aim = useRef<number | null>(null);
  const onKeyDown = useCallback(
    (event: KeyboardEvent) => {
      // Rows change places under the focus, so the focused one itself says where it is.
      const focused = event.target instanceof Element ? event.target.closest<HTMLElement>("[data-row]") : null;
      const from = aim.current ?? Number(focused?.dataset["row"] ?? row);
      const next = event.altKey || event.ctrlKey || event.metaKey ? null : nextRow(event.key, from, count);
      if (next === null || count === 0) {
        return;
      }
      event.preventDefault();
      setRow(next);
      scrollTo(next);
      const isUnderWay = aim.current !== null;
      aim.current = next;
      if (isUnderWay) {
        return;
      }
      // The row may only come into being with the next frame.
      requestAnimationFrame(() => {
        requestAnimationFrame(() => {
          const selector = `[data-row="${aim.current ?? next}"]`;
          aim.current = null;
          listRef.current?.querySelector<HTMLElement>(selector)?.focus({ preventScroll: true });
        });
      });
    },
    [row, count, scrollTo],
  );
  return { row, setRow, listRef, onKeyDown };
}
