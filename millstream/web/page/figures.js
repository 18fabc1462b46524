// The figures of all workers, each with a chart.

import { makeChart } from "./charts.js";
import { sum } from "./collections.js";
import { $, el } from "./dom.js";
import { count, latency, time } from "./format.js";
import { history, lastMinute } from "./history.js";
import { entries, short, state } from "./state.js";

const FIGURES = [
  ["events", "Throughput", (v) => count(v === null ? v : Math.round(v)), "events/s", "--blue"],
  ["lag", "Lag", (v) => count(v), "events", "--blue"],
  ["p99", "Latency, 99 %", latency, "", "--blue"],
  ["duplicates", "Duplicates", (v) => count(v), "/s", "--soft"],
  ["dead", "Dead letters", (v) => count(v), "/s", "--bad"],
  ["late", "Late", (v) => count(v), "/s", "--warn"],
];

const charts = new Map();

export function makeFigures() {
  for (const chart of charts.values()) chart.destroy();
  charts.clear();
  $("figures").replaceChildren();
  for (const [key, title, format, unit, colour] of FIGURES) {
    const box = el("div", { class: "chart", "aria-hidden": "true" });
    const figure = el("figure", { id: `figure-${key}` },
      el("figcaption", {}, el("span", { class: "name" }, title), el("span", { class: "value" }, "–"), el("span", { class: "more" })), box);
    $("figures").append(figure);
    charts.set(key, makeChart(box, colour, (v) => (key === "p99" ? latency(v) : count(v)), { least: key === "p99" ? 0.01 : 1 }));
    box.addEventListener("cursor", (event) => {
      const at = event.detail;
      figure.dataset.at = at ?? "";
      if (at !== null && at !== undefined && history.time[at]) {
        figure.querySelector(".more").textContent = `${time(history.time[at])}: ${format(history[key][at])} ${unit}`;
      }
    });
  }
}

export function drawFigures() {
  for (const [key, , format, unit] of FIGURES) {
    charts.get(key).setData([history.time, history[key]]);
    const figure = $(`figure-${key}`);
    const value = history[key].at(-1) ?? null;
    figure.querySelector(".value").replaceChildren(format(value), el("small", {}, value === null ? "" : ` ${unit}`));
    if (figure.dataset.at) continue;
    const totals = (of) => state.overview.workers.reduce((t, w) => t + Object.values(w.topics).reduce((s, one) => s + sum(one[of]), 0), 0);
    const said = {
      events: () => `into ${entries(state.overview).map(short).join(", ")}`,
      lag: () => { const worst = worstLag(); return worst ? `most in ${short(worst.topic)}/${worst.partition}: ${count(worst.lag)}` : "nothing waits"; },
      p99: () => "from Kafka to the confirmed commit",
      duplicates: () => `${count(lastMinute("duplicates"))} in the last minute, ${count(totals("duplicates"))} in all`,
      dead: () => `${count(lastMinute("dead"))} in the last minute, ${count(totals("dead"))} in all`,
      late: () => `${count(lastMinute("late"))} in the last minute, ${count(totals("late"))} in all`,
    };
    figure.querySelector(".more").textContent = said[key]();
  }
}

function worstLag() {
  const all = state.overview.workers.flatMap((worker) => worker.partitions).filter((p) => p.lag);
  return all.sort((a, b) => b.lag - a.lag)[0];
}
