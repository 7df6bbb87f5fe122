// One series of the last 15 minutes, drawn by uPlot, with its newest and highest value in words.
import { useEffect, useRef } from "react";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { formatClock, formatMinute, NOTHING } from "../shared/format";
import { resolveColor, watchTheme } from "../shared/theme";
import { AsOf } from "../shared/as-of";

const HEIGHT_PX = 132;

interface LiveChartProps {
  readonly title: string;
  readonly unit: string;
  readonly endS: number | null;
  readonly values: readonly (number | null)[];
  readonly format: (value: number) => string;
  /** Whether only whole numbers occur, so that no axis should show others. */
  readonly isWhole?: boolean;
}

export function LiveChart({ title, unit, endS, values, format, isWhole = false }: LiveChartProps) {
  const holder = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);

  useEffect(() => {
    const element = holder.current;
    if (element === null) {
      return undefined;
    }
    const build = () => {
      const data = plot.current?.data ?? [[], []];
      plot.current?.destroy();
      plot.current = new uPlot(options(element, format, isWhole), data, element);
    };
    build();
    const unwatch = watchTheme(build);
    const resize = new ResizeObserver(() => {
      plot.current?.setSize({ width: element.clientWidth, height: HEIGHT_PX });
    });
    resize.observe(element);
    return () => {
      unwatch();
      resize.disconnect();
      plot.current?.destroy();
      plot.current = null;
    };
  }, [format, isWhole]);

  useEffect(() => {
    if (endS !== null) {
      const times = values.map((_, index) => endS - values.length + 1 + index);
      plot.current?.setData([times, [...values]], true);
    }
  }, [endS, values]);

  const peak = values.reduce<number | null>(
    (top, value) => (value !== null && (top === null || value > top) ? value : top),
    null,
  );
  const peakWords = peak === null ? NOTHING : format(peak);
  const newest = values.at(-1) ?? null;
  const newestWords = newest === null ? NOTHING : format(newest);
  return (
    <figure className="chart">
      <figcaption className="chart-head">
        <span className="chart-title">{title}</span>
        <AsOf />
        <span className="chart-now">{newestWords}</span>
        <span className="chart-unit">{unit}</span>
        <span className="chart-peak">peak {peakWords}</span>
      </figcaption>
      <div className="chart-body" data-empty={peak === null}>
        <div
          className="chart-plot"
          ref={holder}
          role="img"
          aria-label={`${title}, last 15 minutes: now ${newest === null ? "none" : newestWords}, highest ${peakWords}`}
        />
        {peak === null && <p className="chart-empty">No data yet</p>}
      </div>
    </figure>
  );
}

const WHOLE_STEPS = [1, 10, 100, 1_000, 10_000].flatMap((unit) => [unit, 2 * unit, 5 * unit]);
/** Seconds between the times below the chart; the shorter, the shorter its history. */
const TIME_STEPS = [30, 60, 120, 300, 600];

function options(element: HTMLElement, format: (value: number) => string, isWhole: boolean): uPlot.Options {
  const ink = resolveColor(element, "var(--ink-3)");
  const line = resolveColor(element, "var(--line)");
  const blue = resolveColor(element, "var(--blue)");
  const wash = resolveColor(element, "var(--blue-wash)");
  const font = `11px ${getComputedStyle(element).fontFamily}`;
  return {
    width: element.clientWidth,
    height: HEIGHT_PX,
    padding: [10, 18, 0, 0],
    legend: { show: false },
    cursor: { y: false, points: { size: 6 }, drag: { setScale: false, x: false, y: false } },
    scales: {
      // As far as there are values; the last one at the right edge.
      x: { range: (_, min, max) => [min, max] },
      // From zero, so that a calm line is not blown up into a storm.
      y: { range: (_, __, max) => [0, (max > 0 ? max : 1) * 1.15] },
    },
    axes: [
      {
        stroke: ink,
        font,
        grid: { show: false },
        ticks: { stroke: line, size: 4 },
        size: 24,
        space: 64,
        incrs: TIME_STEPS,
        values: (_, times, __, ___, stepS) =>
          times.map((time) => (stepS < 60 ? formatClock(time * 1000) : formatMinute(time * 1000))),
      },
      {
        stroke: ink,
        font,
        grid: { stroke: line, width: 1 },
        ticks: { show: false },
        size: 46,
        space: 32,
        ...(isWhole ? { incrs: WHOLE_STEPS } : {}),
        values: (_, values) =>
          values.map((value) => (value === 0 ? "0" : isWhole && !Number.isInteger(value) ? "" : format(value))),
      },
    ],
    series: [{}, { stroke: blue, fill: wash, width: 1.5, points: { show: false } }],
    hooks: {
      init: [(plot) => plot.over.append(tip())],
      setCursor: [(plot) => tell(plot, format)],
    },
  };
}

function tip(): HTMLElement {
  const element = document.createElement("div");
  element.className = "chart-tip";
  element.hidden = true;
  return element;
}

function tell(plot: uPlot, format: (value: number) => string): void {
  const element = plot.over.querySelector<HTMLElement>(".chart-tip");
  const { idx, left = 0 } = plot.cursor;
  const time = typeof idx === "number" ? plot.data[0][idx] : undefined;
  const value = typeof idx === "number" ? plot.data[1]?.[idx] : undefined;
  if (element === null) {
    return;
  }
  element.hidden = time === undefined || left < 0;
  if (time !== undefined) {
    element.textContent = `${formatClock(time * 1000)}  ${value === null || value === undefined ? NOTHING : format(value)}`;
    const isRight = left > plot.over.clientWidth / 2;
    element.style.left = isRight ? "auto" : `${left + 8}px`;
    element.style.right = isRight ? `${plot.over.clientWidth - left + 8}px` : "auto";
  }
}
