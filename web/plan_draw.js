// The planner's pictures of one answer of the planner (plan_curves_json): four charts and the remedies as bars.

import { colours } from "./colours.js";
import { byId, element } from "./dom.js";
import { bytes, count } from "./format.js";

const HEIGHT = 230;
const plots = [];
let latest;

const tokens = (n) => (n >= 1048576 ? `${+(n / 1048576).toFixed(1)}M` : n >= 1024 ? `${+(n / 1024).toFixed(1)}k` : `${n}`);
const stepTime = (s) => (s === null || s === undefined ? "–" : `${+(s * 1e3).toPrecision(3)} ms`);
const dollars = (usd) => (usd === null || usd === undefined ? "–" : `${+usd.toPrecision(3)} USD`);
const people = (n) => (n === null || n === undefined ? "–" : count(n));

// Of each chart: its lines from the bottom up, of what each takes its value, how a value is written.
const CHARTS = [
  {
    id: "plan-memory",
    text: bytes,
    lines: [
      { name: "all", colour: "faint", value: (p) => p.weight_bytes + p.kv_bytes + p.other_bytes, fill: true },
      { name: "weights and KV", colour: "line-prefill", value: (p) => p.weight_bytes + p.kv_bytes, fill: true },
      { name: "weights", colour: "line-decode", value: (p) => p.weight_bytes, fill: true },
      { name: "there is", colour: "error", value: (p, plan) => plan.capacity_bytes, dash: true, isBound: true },
    ],
  },
  {
    id: "plan-step",
    text: stepTime,
    crossover: true,
    lines: [
      { name: "step", colour: "text", value: (p) => p.step_seconds, width: 2.5 },
      { name: "weights read", colour: "line-decode", value: (p) => p.weight_seconds },
      { name: "KV read", colour: "line-prefill", value: (p) => p.kv_seconds },
      { name: "arithmetic", colour: "block-open", value: (p) => p.compute_seconds },
      { name: "waiting", colour: "faint", value: (p) => p.other_seconds },
    ],
  },
  { id: "plan-users", text: people, log: true, lines: [{ name: "users", colour: "line-prefill", value: (p) => (p.users >= 1 ? p.users : null), width: 2.5 }] },
  { id: "plan-cost", text: dollars, log: true, lines: [{ name: "output", colour: "block-open", value: (p) => p.usd_per_million_output_tokens, width: 2.5 }] },
];

/** The most that any line but a bound needs; a bound is shown if it is near. */
function highest(plan, chart) {
  const most = (lines) => Math.max(0, ...plan.points.flatMap((p) => lines.map((line) => line.value(p, plan) ?? 0)));
  const needed = most(chart.lines.filter((line) => !line.isBound));
  const bound = most(chart.lines.filter((line) => line.isBound));
  return 1.08 * (bound > 0 && bound < 2 * needed ? Math.max(bound, needed) : needed) || 1;
}

function drawCrossover(plot, plan, colour) {
  const x = plan.crossover_tokens;
  if (x === null || x < plan.points[0].context_tokens || x > plan.points.at(-1).context_tokens) return;
  const at = plot.valToPos(x, "x", true);
  const { ctx, bbox } = plot;
  ctx.save();
  ctx.strokeStyle = ctx.fillStyle = colour;
  ctx.setLineDash([6, 5]);
  ctx.beginPath();
  ctx.moveTo(at, bbox.top);
  ctx.lineTo(at, bbox.top + bbox.height);
  ctx.stroke();
  ctx.font = `${11 * devicePixelRatio}px system-ui, sans-serif`;
  const isLeft = at > bbox.left + bbox.width / 2;
  ctx.textAlign = isLeft ? "right" : "left";
  ctx.fillText(`cache = weights: ${tokens(Math.round(x))}`, at + (isLeft ? -6 : 6) * devicePixelRatio, bbox.top + 12 * devicePixelRatio);
  ctx.restore();
}

function options(plan, chart, width) {
  const palette = colours("text", "faint", "line", ...chart.lines.map((line) => line.colour));
  const axis = { stroke: palette.faint, grid: { stroke: palette.line, width: 1 }, ticks: { show: false }, font: "11px system-ui, sans-serif" };
  return {
    width,
    height: HEIGHT,
    cursor: { drag: { setScale: false }, points: { size: 6 } },
    scales: {
      x: { time: false, distr: 3, log: 2, range: [plan.points[0].context_tokens, plan.points.at(-1).context_tokens] },
      y: chart.log ? { distr: 3 } : { range: [0, highest(plan, chart)] },
    },
    axes: [
      { ...axis, space: 30, filter: (_, ticks) => ticks, values: (_, ticks) => ticks.map((tick) => (tick && Math.log2(tick) % 2 === 0 ? tokens(tick) : "")) },
      { ...axis, size: 66, values: (_, ticks) => ticks.map((tick) => (tick === null ? "" : chart.text(tick))) },
    ],
    series: [
      { label: "context", value: (_, x) => (x === null ? "–" : `${count(x)} tokens`) },
      ...chart.lines.map((line) => ({
        label: line.name,
        stroke: palette[line.colour],
        width: line.width ?? 1.5,
        pxAlign: 0,
        dash: line.dash ? [6, 5] : undefined,
        fill: line.fill ? palette[line.colour].replace("rgb(", "rgba(").replace(")", ", 0.35)") : undefined,
        points: { show: false },
        value: (_, y) => (y === null ? "–" : chart.text(y)),
      })),
    ],
    hooks: { draw: chart.crossover ? [(plot) => drawCrossover(plot, plan, palette.text)] : [] },
  };
}

function drawCharts(plan) {
  for (const plot of plots.splice(0)) plot.destroy();
  const contexts = plan.points.map((p) => p.context_tokens);
  for (const chart of CHARTS) {
    const place = byId(chart.id);
    const values = chart.lines.map((line) => plan.points.map((p) => line.value(p, plan)));
    const isEmpty = values.every((list) => list.every((value) => value === null));
    place.replaceChildren();
    if (isEmpty) place.textContent = chart.id === "plan-cost" ? "No price is known, or nobody fits." : "Not even one fits.";
    else plots.push(new window.uPlot(options(plan, chart, place.clientWidth), [contexts, ...values], place));
  }
}

/** A bar from 1 to `factor` on a scale of powers of two; null: nothing to show. */
function bar(factor, most, className) {
  const fill = element("span", { class: factor < 1 ? "fill worse" : "fill" });
  fill.style.width = `${(100 * Math.abs(Math.log2(factor || 1))) / most}%`;
  const text = !Number.isFinite(factor) ? "–" : Math.abs(factor - 1) < 0.005 ? "=" : `× ${+factor.toPrecision(2)}`;
  return element("span", { class: `track ${className}` }, fill, element("span", { class: "times" }, text));
}

function drawRemedies(table) {
  const place = byId("plan-remedies");
  const rows = table.remedies.filter((row) => row.applies);
  const logs = rows.flatMap((row) => [row.users_factor, 1 / row.seconds_factor]).map((f) => Math.abs(Math.log2(f || 1)));
  const most = 1.35 * Math.max(1, ...logs.filter(Number.isFinite));
  place.replaceChildren(
    ...rows.map((row) =>
      element(
        "tr",
        {},
        element("th", {}, row.title),
        element("td", {}, bar(row.users_factor ?? NaN, most, "users"), bar(1 / row.seconds_factor, most, "speed")),
        element("td", { class: row.cabinet ? "" : "faint" }, row.cabinet ?? "no"),
      ),
    ),
  );
  const others = table.remedies.filter((row) => !row.applies);
  byId("plan-not").textContent = others.map((row) => `${row.title}: ${row.reason}.`).join(" ");
}

export function draw(plan) {
  latest = plan;
  byId("plan-title").textContent = plan.title;
  drawCharts(plan);
  drawRemedies(plan.what_if);
}

let width = 0;
new ResizeObserver(() => {
  if (latest && byId("plan-memory").clientWidth !== width) drawCharts(latest);
  width = byId("plan-memory").clientWidth;
}).observe(document.documentElement);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => latest && drawCharts(latest));
