// The increase of the workers' counters from one poll to the next.

import { add, sum } from "./collections.js";

let counted = new Map(); // worker to its last counts

function more(now, before) {
  const found = {};
  for (const [name, value] of Object.entries(now)) found[name] = Math.max(0, value - (before?.[name] ?? 0));
  return found;
}

/** Return the counts of all workers since the last poll, as rates; a new worker counts from now on. */
export function rates(overview) {
  const found = { events: {}, outputs: {}, duplicates: 0, dead: {}, deadOf: {}, late: 0, latency: null };
  const next = new Map();
  for (const worker of overview.workers) {
    const before = counted.get(worker.worker);
    next.set(worker.worker, worker);
    if (before?.started !== worker.started || worker.time <= before.time) continue;
    const seconds = worker.time - before.time;
    for (const [topic, counts] of Object.entries(worker.topics)) {
      const old = before.topics[topic];
      if (old === undefined) continue;
      add(found.events, topic, (counts.events - old.events) / seconds);
      for (const [to, n] of Object.entries(more(counts.outputs, old.outputs))) add(found.outputs, `${topic} → ${to}`, n / seconds);
      found.duplicates += sum(more(counts.duplicates, old.duplicates)) / seconds;
      found.late += sum(more(counts.late, old.late)) / seconds;
      for (const [code, n] of Object.entries(more(counts.dead, old.dead))) {
        add(found.dead, code, n / seconds);
        add(found.deadOf, topic, n / seconds);
      }
      found.latency ??= counts.latency.map(() => 0);
      counts.latency.forEach((n, i) => { found.latency[i] += n - old.latency[i]; });
    }
  }
  // A worker that does not answer for a moment keeps its last counts.
  for (const [url, worker] of counted) if (!next.has(url) && overview.missing.some((one) => one.worker === url)) next.set(url, worker);
  counted = next;
  return found;
}

/** Return the 99th percentile of a histogram, interpolated within its range; null without values. */
export function p99(counts, bounds) {
  const total = sum(counts);
  if (!total) return null;
  let below = 0;
  for (const [i, n] of counts.entries()) {
    if (below + n >= total * 0.99) {
      if (i === bounds.length) return Infinity;
      const low = i ? bounds[i - 1] : 0;
      return low + ((bounds[i] - low) * (total * 0.99 - below)) / n;
    }
    below += n;
  }
  return null;
}
