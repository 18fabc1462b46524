// The current workers, and those that have left.

import { group } from "./collections.js";
import { $, el } from "./dom.js";
import { count, lasting, place, time } from "./format.js";
import { gone, history, known } from "./history.js";
import { short, state } from "./state.js";

function byTopic(partitions) {
  return Object.entries(group(partitions, (one) => one.topic)).map(([topic, held]) =>
    el("div", {}, el("span", { class: "dim" }, `${short(topic)} `), held.map((one) => one.partition).join(", ")));
}

function workerRow(worker) {
  const own = worker.worker === state.overview.asked;
  const bad = worker.reasons.length;
  const lag = worker.partitions.reduce((total, p) => total + (p.lag ?? 0), 0);
  const restoring = worker.partitions.filter((p) => p.restore);
  const behind = worker.standbys.reduce((most, s) => Math.max(most, s.lag ?? 0), 0);
  return el("tr", {},
    el("th", { scope: "row" }, place(worker.worker) || worker.name, el("div", {}, el("small", {}, own ? "serves this page" : `worker ${worker.name}`))),
    el("td", { class: bad ? "is-warn" : "is-good" }, bad ? `not ready: ${[...new Set(worker.reasons.map((r) => r.code))].join(", ")}` : "ready"),
    el("td", {}, ...(worker.partitions.length ? byTopic(worker.partitions) : [el("span", { class: "dim" }, "none")])),
    el("td", { class: "number" }, count(lag)),
    el("td", {}, ...(restoring.length
      ? restoring.map((p) => el("div", { class: "is-warn" }, `${short(p.topic)}/${p.partition}: ${p.restore.left === null ? "begins" : `${count(p.restore.left)} left`}${p.restore.seconds_left ? `, ${lasting(p.restore.seconds_left)}` : ""}`))
      : [worker.partitions.length ? "done" : "–"])),
    el("td", {}, ...(worker.standbys.length ? byTopic(worker.standbys) : [el("span", { class: "dim" }, "none")]),
      worker.standbys.length ? el("div", {}, el("small", {}, behind ? `at most ${count(behind)} records behind` : "warm")) : null),
    el("td", { class: "nowrap" }, time(worker.started)));
}

function goneRow(url, since) {
  const missing = state.overview.missing.find((one) => one.worker === url);
  return el("tr", { class: "dim" }, el("th", { scope: "row" }, place(url)),
    el("td", { class: missing ? "is-bad" : "", colspan: 6 }, missing ? `does not answer since ${time(since)}` : `left the group; not seen since ${time(known.get(url))}`));
}

export function drawWorkers() {
  const unknown = state.overview.missing.filter((one) => !known.has(one.worker)).map((one) => [one.worker, history.time[0]]);
  $("worker-rows").replaceChildren(...state.overview.workers.map(workerRow), ...[...gone, ...unknown].map(([url, since]) => goneRow(url, since)));
}
