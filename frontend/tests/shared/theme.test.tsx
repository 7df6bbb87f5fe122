// Light and dark.
import { render, screen } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { expect, it } from "vitest";
import { applyTheme, readTheme } from "../../src/shared/theme";
import { ThemeToggle } from "../../src/shared/ThemeToggle";

it("the theme follows the system until one is chosen, and the choice is remembered", async () => {
  applyTheme(readTheme());
  expect(document.documentElement).not.toHaveAttribute("data-theme");
  render(<ThemeToggle />);
  await userEvent.click(screen.getByRole("button"));
  expect(document.documentElement).toHaveAttribute("data-theme", "light");
  await userEvent.click(screen.getByRole("button"));
  expect(document.documentElement).toHaveAttribute("data-theme", "dark");
  expect(readTheme()).toBe("dark");
});
