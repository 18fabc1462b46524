// The number of dead letters, a list of the newest, and the details of one.

import { ask, reason } from "./asking.js";
import { add } from "./collections.js";
import { $, el } from "./dom.js";
import { count, time } from "./format.js";
import { codes } from "./history.js";
import { shown } from "./json.js";
import { short, state } from "./state.js";

export function drawDead() {
  const totals = {};
  for (const worker of state.overview.workers) for (const topic of Object.values(worker.topics)) for (const [code, n] of Object.entries(topic.dead)) add(totals, code, n);
  const sorted = Object.entries(totals).filter(([, n]) => n).sort((a, b) => b[1] - a[1]);
  $("dead-counts").textContent = sorted.length
    ? `Since these workers started: ${sorted.map(([code, n]) => `${code} ${count(n)}`).join(", ")}. In the last minute: ${codes().join(", ") || "none"}.`
    : "None since these workers started.";
}

$("dead-show").addEventListener("click", async () => {
  $("dead-asof").textContent = "Reading the topics…";
  try {
    const { dead_letters: letters } = await ask("/dead-letters?limit=20", 15000);
    $("dead-asof").textContent = letters.length ? `as of ${time(Date.now() / 1000)}` : "There are none.";
    $("dead-table").hidden = !letters.length;
    $("dead-rows").replaceChildren(...letters.map((one) => el("tr", {},
      el("td", { class: "nowrap" }, time(one.time)), el("td", { class: "nowrap" }, one.code ?? "?"), el("td", {}, one.reason ?? "?"),
      el("td", { class: "nowrap" }, short(one.origin ?? "?")), el("td", { class: "number" }, count(one.bytes)),
      el("td", {}, el("button", { type: "button", "aria-label": `Open the dead letter from ${one.origin}`, onclick: () => openLetter(one) }, "Open")))));
  } catch (error) {
    $("dead-asof").textContent = `They cannot be read. ${reason(error)}`;
  }
});

function bytes(title, raw) {
  if (raw === null) return [el("h3", {}, title), el("p", { class: "dim" }, "none")];
  const hex = raw.hex.replace(/(..)/g, "$1 ").replace(/(.{48})/g, "$1\n").trim();
  const digits = el("pre", {}, hex + (raw.bytes * 2 > raw.hex.length ? " …" : ""));
  return [
    el("h3", {}, `${title}, ${count(raw.bytes)} bytes${raw.text === null ? ", not text" : ""}`),
    raw.text === null ? digits : el("pre", {}, raw.text + (raw.bytes > 65536 ? " …" : "")),
    raw.text === null ? "" : el("details", {}, el("summary", {}, "In hexadecimal"), digits),
  ];
}

async function openLetter({ topic, partition, offset }) {
  const body = $("letter-body");
  body.replaceChildren(el("p", { class: "dim" }, "Reading…"));
  $("letter").showModal();
  try {
    const one = await ask(`/dead-letters/${encodeURIComponent(topic)}/${partition}/${offset}`, 15000);
    const { headers, key, value, ...summary } = one;
    body.replaceChildren(
      shown({ code: one.code, reason: one.reason, origin: one.origin, "stored at": `${topic}/${partition}/${offset}`, time: new Date(one.time * 1000).toISOString() }, ""),
      el("h3", {}, "Headers"), el("dl", {}, ...headers.flatMap((h) => [el("dt", {}, h.name), el("dd", {}, h.value)])),
      ...bytes("Key", key), ...bytes("Value", value),
      el("p", {}, el("small", {}, `To replay a corrected value: millstream dead-letters replay ${one.origin} --value corrected.json`)));
  } catch (error) {
    body.replaceChildren(el("p", { class: "is-bad" }, reason(error)));
  }
}
