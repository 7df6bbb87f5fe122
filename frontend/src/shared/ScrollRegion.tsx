// A part that scrolls by itself, and so must be reachable by keys and have a name.
import type { ReactNode } from "react";

interface ScrollRegionProps {
  readonly name: string;
  readonly className: string;
  readonly children: ReactNode;
}

export function ScrollRegion({ name, className, children }: ScrollRegionProps) {
  return (
    // eslint-disable-next-line jsx-a11y/no-noninteractive-tabindex -- without it, keys could not scroll
    <div className={className} tabIndex={0} role="region" aria-label={name}>
      {children}
    </div>
  );
}
