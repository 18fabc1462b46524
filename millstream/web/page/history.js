// The history since the page was opened.

import { add, sum } from "./collections.js";
import { p99, rates } from "./rates.js";
import { entries } from "./state.js";

export const POLL_MS = 2000;
const HISTORY = 300; // polls: ten minutes
const MINUTE = 30; // polls
const LATENCY_POLLS = 5;
const GONE_SECONDS = 3600; // how long a worker that has left is shown

export const history = { time: [], events: [], lag: [], p99: [], duplicates: [], dead: [], late: [] };
export const edges = new Map(); // "from → to" to rate
export const known = new Map(); // URL to the time when a worker was last seen
export const gone = new Map(); // URL to the time since when a worker is missing
let latencies = [];
let deadByCode = [];

export function remember(overview) {
  const now = Date.now() / 1000;
  const rate = rates(overview);
  const first = entries(overview);
  const lags = overview.workers.flatMap((worker) => worker.partitions.map((p) => p.lag)).filter((lag) => lag !== null);
  if (rate.latency) latencies.push(rate.latency);
  latencies = latencies.slice(-LATENCY_POLLS);
  const recent = latencies.reduce((total, one) => total.map((n, i) => n + one[i]), overview.latency_bounds.map(() => 0).concat(0));
  const values = {
    time: now,
    events: first.reduce((total, topic) => total + (rate.events[topic] ?? 0), 0),
    lag: lags.length ? lags.reduce((a, b) => a + b, 0) : null,
    p99: p99(recent, overview.latency_bounds),
    duplicates: rate.duplicates,
    dead: sum(rate.dead),
    late: rate.late,
  };
  if (rate.latency === null) for (const name of ["events", "duplicates", "dead", "late"]) values[name] = null;
  // There is no data for a time without polls: the line is interrupted.
  if (now - (history.time.at(-1) ?? now) > 10) for (const [name, list] of Object.entries(history)) list.push(name === "time" ? now - 1 : null);
  for (const [name, list] of Object.entries(history)) {
    const value = values[name];
    list.push(value === Infinity ? overview.latency_bounds.at(-1) : value);
    list.splice(0, list.length - HISTORY);
  }
  deadByCode.push(rate.dead);
  deadByCode = deadByCode.slice(-MINUTE);
  edges.clear();
  for (const agent of overview.agents) {
    edges.set(`${agent.topic} → @${agent.agent}`, (rate.events[agent.topic] ?? 0) + (rate.deadOf[agent.topic] ?? 0));
  }
  for (const [edge, value] of Object.entries(rate.outputs)) {
    const [from, to] = edge.split(" → ");
    edges.set(`@${overview.agents.find((agent) => agent.topic === from)?.agent} → ${to}`, value);
  }
  for (const worker of overview.workers) {
    known.set(worker.worker, now);
    gone.delete(worker.worker);
  }
  for (const [url, seen] of known) {
    if (seen !== now && !gone.has(url)) gone.set(url, now);
    if (now - seen > GONE_SECONDS) {
      known.delete(url);
      gone.delete(url);
    }
  }
}

/** Return the number in the last minute. */
export function lastMinute(name) {
  let total = 0;
  for (let i = Math.max(1, history.time.length - MINUTE); i < history.time.length; i++) {
    total += (history[name][i] ?? 0) * Math.min(5, history.time[i] - history.time[i - 1]);
  }
  return Math.round(total);
}

export function codes() {
  const totals = {};
  for (const one of deadByCode) for (const [code, n] of Object.entries(one)) add(totals, code, n * POLL_MS / 1000);
  return Object.entries(totals).filter(([, n]) => n >= 0.5).sort((a, b) => b[1] - a[1]).map(([code, n]) => `${code} ${Math.round(n)}`);
}
