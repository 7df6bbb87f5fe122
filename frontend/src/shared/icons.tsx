// The few signs that the pages use. Each state has a shape of its own, so that none is told by colour alone.
import type { ReactNode } from "react";

export type IconName =
  | "good"
  | "degraded"
  | "failed"
  | "notice"
  | "waiting"
  | "lost"
  | "sun"
  | "moon"
  | "system"
  | "close"
  | "search"
  | "up"
  | "down"
  | "back";

const SHAPES: Readonly<Record<IconName, ReactNode>> = {
  good: (
    <>
      <circle cx="8" cy="8" r="7" className="icon-fill" />
      <path d="M4.8 8.2l2.2 2.3 4.2-4.8" className="icon-cut" />
    </>
  ),
  degraded: (
    <>
      <path d="M8 1.2l7.2 13H.8z" className="icon-fill" />
      <path d="M8 5.8v4.2M8 12v.2" className="icon-cut" />
    </>
  ),
  failed: (
    <>
      <path d="M5 .9h6L15.1 5v6L11 15.1H5L.9 11V5z" className="icon-fill" />
      <path d="M5.4 5.4l5.2 5.2M10.6 5.4l-5.2 5.2" className="icon-cut" />
    </>
  ),
  notice: (
    <>
      <rect x="1.2" y="1.2" width="13.6" height="13.6" rx="3" className="icon-fill" />
      <path d="M8 7.2v4.4M8 4.4v.2" className="icon-cut" />
    </>
  ),
  waiting: (
    <>
      <circle cx="8" cy="8" r="6.2" className="icon-line" />
      <path d="M8 4.4V8l2.4 1.8" className="icon-line" />
    </>
  ),
  lost: (
    <>
      <circle cx="8" cy="8" r="6.2" className="icon-line" />
      <path d="M3.6 3.6l8.8 8.8" className="icon-line" />
    </>
  ),
  sun: (
    <>
      <circle cx="8" cy="8" r="3" className="icon-line" />
      <path
        d="M8 1v1.6M8 13.4V15M1 8h1.6M13.4 8H15M3 3l1.2 1.2M11.8 11.8L13 13M13 3l-1.2 1.2M4.2 11.8L3 13"
        className="icon-line"
      />
    </>
  ),
  moon: <path d="M13.6 9.8A6 6 0 0 1 6.2 2.4a6 6 0 1 0 7.4 7.4z" className="icon-line" />,
  system: (
    <>
      <circle cx="8" cy="8" r="6.2" className="icon-line" />
      <path d="M8 1.8a6.2 6.2 0 0 1 0 12.4z" className="icon-fill" />
    </>
  ),
  close: <path d="M3.5 3.5l9 9M12.5 3.5l-9 9" className="icon-line" />,
  search: (
    <>
      <circle cx="7" cy="7" r="4.6" className="icon-line" />
      <path d="M10.5 10.5l3.8 3.8" className="icon-line" />
    </>
  ),
  up: <path d="M8 13V3.4M4 7l4-4 4 4" className="icon-line" />,
  down: <path d="M8 3v9.6M4 9l4 4 4-4" className="icon-line" />,
  back: <path d="M13 8H3.4M7 4L3 8l4 4" className="icon-line" />,
};

/** A sign beside words that say the same, so that nobody hears it twice. */
export function Icon({ name }: { readonly name: IconName }) {
  return (
    <svg className={`icon icon-${name}`} viewBox="0 0 16 16" aria-hidden="true" focusable="false">
      {SHAPES[name]}
    </svg>
  );
}
