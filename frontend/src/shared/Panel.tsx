// A titled part of a page.
import { useId, type ReactNode } from "react";
import { AsOf } from "./as-of";

interface PanelProps {
  readonly title: string;
  readonly className?: string;
  /** A few words or controls at the right of the title. */
  readonly aside?: ReactNode;
  readonly children: ReactNode;
}

export function Panel({ title, className = "", aside, children }: PanelProps) {
  const id = useId();
  return (
    <section className={`panel ${className}`} aria-labelledby={id}>
      <header className="panel-head">
        <h2 id={id}>{title}</h2>
        <AsOf />
        {aside !== undefined && <div className="panel-aside">{aside}</div>}
      </header>
      {children}
    </section>
  );
}
