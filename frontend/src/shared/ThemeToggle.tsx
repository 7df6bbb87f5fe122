// Chooses between the system's theme, light and dark.
import { useState } from "react";
import { Icon, type IconName } from "./icons";
import { applyTheme, readTheme, THEMES, type Theme } from "./theme";

const ICONS: Readonly<Record<Theme, IconName>> = { system: "system", light: "sun", dark: "moon" };
const NAMES: Readonly<Record<Theme, string>> = { system: "as the system", light: "light", dark: "dark" };

export function ThemeToggle() {
  const [theme, setTheme] = useState(readTheme);
  const next = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length] ?? "system";
  const choose = () => {
    applyTheme(next);
    setTheme(next);
  };
  const label = `Theme: ${NAMES[theme]}. Change to ${NAMES[next]}`;
  return (
    <button type="button" className="icon-button" onClick={choose} aria-label={label} title={label}>
      <Icon name={ICONS[theme]} />
    </button>
  );
}
