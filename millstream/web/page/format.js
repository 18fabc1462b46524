// Formats of values.

export const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const day = new Intl.DateTimeFormat("en-CA");

/** Format a time; with the day if it is not today. */
export function time(seconds) {
  const at = new Date(seconds * 1000);
  return (day.format(at) === day.format(new Date()) ? "" : `${day.format(at)} `) + clock.format(at);
}

export const place = (url) => url.replace(/^https?:\/\//, "");

export function count(value) {
  if (value === null || value === undefined) return "–";
  if (Math.abs(value) >= 1e6) return `${(value / 1e6).toFixed(2)} M`;
  if (Math.abs(value) >= 1e5) return `${Math.round(value / 1e3)} k`;
  return value.toLocaleString("en", { maximumFractionDigits: Math.abs(value) < 10 ? 1 : Number.isInteger(value) ? 0 : 1 });
}

export function lasting(seconds) {
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return `${(seconds / 3600).toFixed(1)} h`;
}

export function latency(seconds) {
  if (seconds === null) return "–";
  if (seconds === Infinity) return "over an hour";
  return seconds < 1 ? `${Math.round(seconds * 1000)} ms` : lasting(seconds);
}

export function scalar(value) {
  if (value === null || value === undefined) return "–";
  if (typeof value === "object") return JSON.stringify(value);
  if (typeof value === "number") return String(Math.round(value * 1e6) / 1e6);
  if (typeof value === "boolean") return value ? "yes" : "no";
  return /^\d{4}-\d\d-\d\dT[\d:.]+Z$/.test(value) ? time(Date.parse(value) / 1000) : String(value);
}
