// Numbers as a person reads them.

const integer = new Intl.NumberFormat("en");

export const count = (n) => (Number.isFinite(n) ? integer.format(Math.round(n)) : "–");

export function bytes(n) {
  if (!Number.isFinite(n)) return "–";
  const units = ["B", "kB", "MB", "GB", "TB"];
  let power = 0;
  while (n >= 1000 && power < units.length - 1) {
    n /= 1000;
    power++;
  }
  return `${power === 0 || n >= 100 ? Math.round(n) : n.toFixed(1)} ${units[power]}`;
}

export const perSecond = (n) => (Number.isFinite(n) ? (n >= 100 ? count(n) : n.toFixed(1)) : "–");

export const percent = (part, whole) => (whole > 0 ? `${((100 * part) / whole).toFixed(part > 0 && part / whole < 0.1 ? 1 : 0)} %` : "–");

export function milliseconds(ms) {
  if (!Number.isFinite(ms)) return "–";
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 60000) return `${(ms / 1000).toFixed(1)} s`;
  return `${Math.floor(ms / 60000)} min ${Math.round((ms % 60000) / 1000)} s`;
}

export const plural = (n, one, many = `${one}s`) => `${count(n)} ${n === 1 ? one : many}`;
