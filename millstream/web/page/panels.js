// The tables' panels, which the agents declare: millstream/web/panels.py.

import { ask, reason } from "./asking.js";
import { makeChart } from "./charts.js";
import { $, el } from "./dom.js";
import { count, lasting, scalar, time } from "./format.js";
import { lookUp } from "./look-up.js";
import { state } from "./state.js";

const drawn = new Map(); // title to the panel's drawing functions

/** A table's watermark; if it has none yet, that of the other tables; null before any event. */
function watermark(table) {
  const source = state.overview.tables.find((one) => one.name === table)?.source;
  const partitions = state.overview.workers.flatMap((w) => w.partitions).filter((p) => p.watermark);
  const own = partitions.filter((p) => p.topic === source);
  return (own.length ? own : partitions).reduce((most, p) => Math.max(most, p.watermark), 0) || null;
}

function makePanel(panel) {
  const note = el("p", { class: "note" }, "Loading…");
  const body = el("div");
  const box = el("article", { class: "panel", "data-table": panel.table }, el("h2", {}, panel.title), note, body);
  $("panels").append(box);
  const say = (answer, text) => {
    const missing = answer.partial ? `Too small, because partition ${answer.missing.map((one) => one.partition).join(", ")} is missing. ` : "";
    note.textContent = missing + text;
    note.classList.toggle("is-warn", Boolean(missing));
  };
  const draw = { bars: drawBars, rows: drawRows, line: drawLine }[panel.draw];
  return {
    async refresh() {
      try {
        await draw(panel, body, say);
      } catch (error) {
        note.textContent = error.status === 404 ? "Nothing yet." : `No answer: ${reason(error)}`;
        note.classList.toggle("is-warn", error.status !== 404);
      }
    },
  };
}

const keyButton = (table, key) => el("button", { type: "button", class: "key", title: `Look ${key} up in ${table}`, onclick: () => lookUp(table, key, true) }, key);

async function drawBars(panel, body, say) {
  const mark = watermark(panel.table);
  const at = mark ? `&at=${Math.max(0, Math.floor(mark - panel.ago))}` : "";
  const answer = await ask(panel.path + at);
  const top = answer.top ?? [];
  say(answer, `${answer.start ? `${time(Date.parse(answer.start) / 1000)}–${time(Date.parse(answer.end) / 1000)} of event time: ` : ""}${top.length ? panel.by : "nothing."}`);
  const most = Math.max(...top.map((one) => one[panel.by]), 0);
  body.replaceChildren(el("ol", { class: "bars" }, ...top.map((one) => {
    const bar = el("div", { class: "bar" });
    bar.style.width = `${most > 0 ? Math.max(0, one[panel.by] / most) * 100 : 0}%`;
    return el("li", {}, keyButton(panel.table, one.key), el("div", { class: "track" }, bar), el("span", { class: "figure" }, count(one[panel.by])));
  })));
}

async function drawRows(panel, body, say) {
  const answer = await ask(panel.path);
  const keys = answer.keys ?? [];
  say(answer, keys.length ? `${answer.next ? "the first of many" : `${keys.length}`}, by key` : "Nothing yet.");
  body.replaceChildren(el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": panel.title }, el("table", {},
    el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "key"), ...panel.columns.map((c) => el("th", { scope: "col" }, c)))),
    el("tbody", {}, ...keys.map((one) => el("tr", {}, el("td", {}, keyButton(panel.table, one.key)), ...panel.columns.map((c) => el("td", { class: "nowrap" }, scalar(one.newest[c] ?? one.newest.value?.[c])))))))));
}

async function drawLine(panel, body, say) {
  const mark = watermark(panel.table) ?? Date.now() / 1000;
  const answer = await ask(`${panel.path}?from=${Math.max(0, Math.floor(mark - panel.last))}`);
  const windows = answer.windows ?? [];
  say(answer, `of the last ${lasting(panel.last)} of event time`);
  if (!body.chart?.root.isConnected) {
    body.chart?.destroy();
    const box = el("div", { class: "chart", "aria-hidden": "true" });
    body.figure = el("p", { class: "figure" });
    body.replaceChildren(body.figure, box);
    body.chart = makeChart(box, "--blue", count, { sync: false });
  }
  body.figure.textContent = windows.length ? `${count(windows.at(-1)[panel.by])} ${panel.by} in the newest window` : "Nothing yet.";
  body.chart.setData([windows.map((one) => Date.parse(one.start) / 1000), windows.map((one) => one[panel.by])]);
}

export async function drawPanels() {
  for (const panel of state.overview.panels) {
    const key = `${panel.title} ${panel.path}`;
    if (!drawn.has(key)) drawn.set(key, makePanel(panel));
  }
  await Promise.all([...drawn.values()].map((panel) => panel.refresh()));
}
