// A state as a sign and a word.
import type { ReactNode } from "react";
import { Icon, type IconName } from "./icons";

export type Tone = "good" | "degraded" | "failed" | "notice" | "waiting";

const ICONS: Readonly<Record<Tone, IconName>> = {
  good: "good",
  degraded: "degraded",
  failed: "failed",
  notice: "notice",
  waiting: "waiting",
};

export function StateTag({ tone, children }: { readonly tone: Tone; readonly children: ReactNode }) {
  return (
    <span className={`state tone-${tone}`}>
      <Icon name={ICONS[tone]} />
      <span className="state-text">{children}</span>
    </span>
  );
}
