// The last minutes: tokens a second and the fill of the pool, drawn by uPlot (a script of its own: window.uPlot).

import { colours } from "./colours.js";
import { byId, setText } from "./dom.js";
import { count, percent, perSecond } from "./format.js";

const KEPT_S = 600;
const GAP_S = 5; // longer without a figure (a hidden page): the line breaks

const CHARTS = [
  { id: "decode", colour: "line-decode", value: (live) => live.decode_tokens_per_second, text: perSecond },
  { id: "prefill", colour: "line-prefill", value: (live) => live.prefill_tokens_per_second, text: perSecond },
  { id: "filled", colour: "line-fill", value: (live) => (100 * live.held_bytes) / Math.max(live.arena_bytes, 1), text: (n) => percent(n, 100), top: 100 },
];

const times = [];
const values = CHARTS.map(() => []);
const plots = [];

/** uPlot's own idea of the data's end is a day off while there is one figure only. */
function timeRange() {
  const last = times.at(-1);
  return [Math.max(last - KEPT_S, Math.min(times[0], last - 60)), last];
}

function options(chart, width, isLast) {
  const palette = colours(chart.colour, "faint", "line", "panel");
  const axis = { stroke: palette.faint, grid: { stroke: palette.line, width: 1 }, ticks: { show: false }, font: "11px system-ui, sans-serif" };
  return {
    width,
    height: isLast ? 78 : 58,
    padding: [8, 18, isLast ? 0 : 8, 0],
    legend: { show: false },
    cursor: { y: false, drag: { setScale: false }, sync: { key: "cabinet" }, points: { size: 6 } },
    scales: {
      x: { time: true, range: timeRange },
      y: { range: (_, __, most) => [0, chart.top ?? Math.max(most * 1.1, 1)] },
    },
    axes: [
      { ...axis, show: isLast, size: 20, values: "{HH}:{mm}:{ss}", space: 70 },
      { ...axis, size: 40, space: 20, values: (_, ticks) => ticks.map((tick) => count(tick)) },
    ],
    series: [{}, { stroke: palette[chart.colour], width: 1.5, fill: palette[chart.colour].replace("rgb(", "rgba(").replace(")", ", 0.12)"), points: { show: false } }],
    hooks: { setCursor: [showValue] },
  };
}

/** The figure beside a chart's name: under the cursor, else the latest. */
function showValue(plot) {
  const i = plots.indexOf(plot);
  if (i < 0) return;
  const at = plot.cursor.idx ?? times.length - 1;
  setText(byId(`${CHARTS[i].id}-now`), CHARTS[i].text(values[i][at] ?? NaN));
}

function make() {
  for (const plot of plots.splice(0)) plot.destroy();
  CHARTS.forEach((chart, i) => {
    const place = byId(`chart-${chart.id}`);
    if (!place.clientWidth) return;
    plots[i] = new window.uPlot(options(chart, place.clientWidth, i === CHARTS.length - 1), [times, values[i]], place);
  });
}

export function add(live) {
  const now = Date.now() / 1000;
  if (times.length && now - times.at(-1) > GAP_S) {
    times.push(times.at(-1) + 1);
    for (const list of values) list.push(null);
  }
  times.push(now);
  CHARTS.forEach((chart, i) => values[i].push(chart.value(live) ?? null));
  while (times[0] < now - KEPT_S) {
    times.shift();
    for (const list of values) list.shift();
  }
  if (plots.length < CHARTS.length) make();
  CHARTS.forEach((chart, i) => {
    plots[i]?.setData([times, values[i]]);
    setText(byId(`${chart.id}-now`), chart.text(values[i][plots[i]?.cursor.idx ?? times.length - 1] ?? NaN));
  });
}

/** After the theme has changed. */
export function redraw() {
  if (times.length) make();
}

export function connect() {
  new ResizeObserver(() => {
    CHARTS.forEach((chart, i) => {
      const width = byId(`chart-${chart.id}`).clientWidth;
      if (plots[i] && width && plots[i].width !== width) plots[i].setSize({ width, height: plots[i].height });
    });
  }).observe(byId("chart-decode"));
}
