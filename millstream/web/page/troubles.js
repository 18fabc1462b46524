// Current and past problems: what, where, and since when.

import { group } from "./collections.js";
import { $, el } from "./dom.js";
import { count, place, time } from "./format.js";
import { codes, history, lastMinute } from "./history.js";
import { short, state } from "./state.js";

const DEAD_SHARE = 0.05; // of a minute's records
const PAST = 20;

const troubles = new Map(); // key to {level, text, since}
const past = [];
let wellSince = null;

export function listTroubles() {
  const { overview, failing } = state;
  const found = new Map();
  const tell = (key, level, text) => found.set(key, { level, text });
  if (failing !== null) {
    tell("own", "bad", `This page's worker, ${location.host}, does not answer. ${failing} The data below is ${overview ? `from ${time(history.time.at(-1))}` : "not loaded yet"}.`);
  }
  if (overview !== null && failing === null) {
    for (const { worker, why } of overview.missing) tell(`missing ${worker}`, "bad", `Worker ${place(worker)} does not answer: ${why.replace(worker, "it")}. The figures do not include it.`);
    const unowned = overview.agents.map(({ topic }) => {
      const held = new Set(overview.workers.flatMap((w) => w.partitions.filter((p) => p.topic === topic).map((p) => p.partition)));
      const free = [...Array(overview.partitions).keys()].filter((n) => !held.has(n));
      return free.length ? `${short(topic)} ${free.join(", ")}` : null;
    }).filter(Boolean);
    if (unowned.length) tell("unowned", "bad", `Partitions that no worker reports: ${unowned.join("; ")}. Their events wait in Kafka.`);
    for (const worker of overview.workers) {
      for (const [code, reasons] of Object.entries(group(worker.reasons, (one) => one.code))) {
        const level = ["failed", "producer", "unconfirmed", "retrying"].includes(code) ? "bad" : "warn";
        tell(`${worker.worker} ${code}`, level, `${name(worker)}: ${reasons.map((one) => one.detail).join(" ")}`);
      }
    }
    const dead = lastMinute("dead"), events = lastMinute("events");
    if (dead >= 5 && dead > DEAD_SHARE * (dead + events)) {
      tell("dead", "warn", `${count(dead)} of the last minute's ${count(dead + events)} records were dead letters: ${codes().join(", ")}.`);
    }
  }
  const now = Date.now() / 1000;
  for (const [key, trouble] of found) troubles.set(key, { since: now, ...troubles.get(key), ...trouble });
  for (const [key, trouble] of [...troubles]) {
    if (found.has(key)) continue;
    if (failing !== null && key !== "own") continue; // unknown now
    troubles.delete(key);
    past.unshift({ ...trouble, until: now });
  }
  past.length = Math.min(past.length, PAST);
  wellSince = troubles.size ? null : (wellSince ?? now);
}

const name = (worker) => `Worker ${place(worker.worker) || worker.name}`;

export function drawState() {
  const { overview, failing } = state;
  const levels = [...troubles.values()].map((one) => one.level);
  const level = levels.includes("bad") ? "bad" : levels.length ? "warn" : overview ? "good" : "";
  $("state").className = `banner ${level}`;
  const workers = overview?.workers.length ?? 0;
  const title = levels.length ? (levels.length === 1 ? "One problem" : `${levels.length} problems`)
    : overview ? `All well: ${workers} worker${workers === 1 ? "" : "s"} at work` : "Loading…";
  if ($("state-title").textContent !== title) $("state-title").textContent = title; // screen readers announce a change
  document.title = `${level === "good" || !level ? "" : "⚠ "}Millstream${overview ? ` – ${overview.service}` : ""}`;
  const shown = [...troubles.values()].sort((a, b) => a.since - b.since)
    .map((one) => el("li", {}, el("b", {}, `since ${time(one.since)}`), ` ${one.text}`));
  if (!shown.length && wellSince && overview) shown.push(el("li", {}, `since ${time(wellSince)}${wellSince - history.time[0] < 5 ? ", when this page was opened" : ""}`));
  $("troubles").replaceChildren(...shown);
  $("past").hidden = !past.length;
  $("past-count").textContent = `${past.length}`;
  $("past-list").replaceChildren(...past.map((one) => el("li", {}, el("b", {}, `${time(one.since)}–${time(one.until)}`), ` ${one.text}`)));
  document.body.classList.toggle("stale", failing !== null);
}
