// A sentence of the collector: what stands in backticks is code, and addresses that it answers are links.
import type { ReactNode } from "react";

const PARTS = /(`[^`]+`|\/rl\/status\b|\/health\/data\b)/;

interface ProseProps {
  readonly text: string;
  readonly httpUrl: (path: string) => string;
}

export function Prose({ text, httpUrl }: ProseProps): ReactNode {
  // Split by a group, every second part is what was found.
  return text.split(PARTS).map((part, index) => {
    if (index % 2 === 0) {
      return part;
    }
    return part.startsWith("`") ? (
      <code key={index}>{part.slice(1, -1)}</code>
    ) : (
      <a key={index} href={httpUrl(part)}>
        {part}
      </a>
    );
  });
}
