// The live page. It asks its own worker only: /overview for all workers' figures, /tables/… for what is in tables.

const POLL_MS = 2000;
const HISTORY = 300; // polls: ten minutes
const MINUTE = 30; // polls
const LATENCY_POLLS = 5;
const DEAD_SHARE = 0.05; // of a minute's records
const PAST = 20;
const GONE_SECONDS = 3600; // a worker that has left is shown for so long

const $ = (id) => document.getElementById(id);
const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const day = new Intl.DateTimeFormat("en-CA");
/** Say a time; with the day if that is not today. */
function time(seconds) {
  const at = new Date(seconds * 1000);
  return (day.format(at) === day.format(new Date()) ? "" : `${day.format(at)} `) + clock.format(at);
}
const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** Make an element; what is given as text stays text. */
function el(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

function count(value) {
  if (value === null || value === undefined) return "–";
  if (Math.abs(value) >= 1e6) return `${(value / 1e6).toFixed(2)} M`;
  if (Math.abs(value) >= 1e5) return `${Math.round(value / 1e3)} k`;
  return value.toLocaleString("en", { maximumFractionDigits: Math.abs(value) < 10 ? 1 : Number.isInteger(value) ? 0 : 1 });
}

function lasting(seconds) {
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return `${(seconds / 3600).toFixed(1)} h`;
}

function latency(seconds) {
  if (seconds === null) return "–";
  if (seconds === Infinity) return "over an hour";
  return seconds < 1 ? `${Math.round(seconds * 1000)} ms` : lasting(seconds);
}

// ---- Asking

class Refused extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

let token = sessionStorage.getItem("token") ?? "";
let entering = null;

/** Ask the worker for JSON; a 401 asks the user for a token, and goes on with it. */
async function ask(path, milliseconds = 10000) {
  for (;;) {
    const used = token;
    const headers = { Accept: "application/json", ...(used ? { Authorization: `Bearer ${used}` } : {}) };
    const answer = await fetch(path, { headers, signal: AbortSignal.timeout(milliseconds), cache: "no-store" });
    if (answer.status === 401) {
      if (used === token) await enterToken(used ? "The workers do not know this token." : "");
      continue;
    }
    const body = await answer.json().catch(() => ({}));
    // Some tables answer in part: 503 with what there is.
    if (!answer.ok && !body.partial) throw new Refused(answer.status, body.detail ?? `The worker answered ${answer.status}.`);
    return body;
  }
}

function enterToken(error) {
  $("token-error").textContent = error;
  if (entering === null) {
    entering = new Promise((resolve) => {
      $("token-form").onsubmit = (event) => {
        event.preventDefault();
        token = $("token").value.trim();
        sessionStorage.setItem("token", token);
        $("token").value = "";
        $("ask-token").close();
        entering = null;
        resolve();
      };
    });
    $("ask-token").showModal();
  }
  return entering;
}
$("ask-token").addEventListener("cancel", (event) => event.preventDefault());

const reason = (error) =>
  error instanceof Refused ? error.message
    : error.name === "TimeoutError" ? "It did not answer in time." : "It cannot be reached.";

// ---- What has happened since the page was opened

const history = { time: [], events: [], lag: [], p99: [], duplicates: [], dead: [], late: [] };
const edges = new Map(); // "from → to" to rate
let counted = new Map(); // worker to its last counts
let latencies = [];
let deadByCode = [];
let last = null; // the last overview
let failing = null; // since when the own worker does not answer
const known = new Map(); // URL to when a worker was last there
const gone = new Map(); // URL to since when one is not
const troubles = new Map(); // key to {text, level, since, seen}
const past = [];
let wellSince = null;

function more(now, before) {
  const found = {};
  for (const [name, value] of Object.entries(now)) found[name] = Math.max(0, value - (before?.[name] ?? 0));
  return found;
}
const sum = (values) => Object.values(values).reduce((total, value) => total + value, 0);
const add = (totals, name, value) => { totals[name] = (totals[name] ?? 0) + value; };

/** Return what all workers have counted since the last poll, as rates; a worker that is new counts from now on. */
function rates(overview) {
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
  // One that does not answer for a moment goes on where it was.
  for (const [url, worker] of counted) if (!next.has(url) && overview.missing.some((one) => one.worker === url)) next.set(url, worker);
  counted = next;
  return found;
}

/** Return the 99th percentile of a histogram, within its range by proportion; null of nothing. */
function p99(counts, bounds) {
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

/** The source topics that no agent fills. */
function entries(overview) {
  const filled = new Set(overview.workers.flatMap((w) => Object.values(w.topics).flatMap((t) => Object.keys(t.outputs))));
  return overview.agents.map((agent) => agent.topic).filter((topic) => !filled.has(topic));
}

function short(topic) {
  return last && topic.startsWith(last.prefix) ? topic.slice(last.prefix.length) : topic;
}
const place = (url) => url.replace(/^https?:\/\//, "");

function remember(overview) {
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
  // Nothing is known of a time without polls: the line breaks.
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

/** Of the last minute, how many there were. */
function lastMinute(name) {
  let total = 0;
  for (let i = Math.max(1, history.time.length - MINUTE); i < history.time.length; i++) {
    total += (history[name][i] ?? 0) * Math.min(5, history.time[i] - history.time[i - 1]);
  }
  return Math.round(total);
}

// ---- What is wrong, where, since when

function listTroubles(overview) {
  const found = new Map();
  const tell = (key, level, text) => found.set(key, { level, text });
  if (failing !== null) {
    tell("own", "bad", `This page's worker, ${location.host}, does not answer. ${failing} What you see below is of ${last ? time(history.time.at(-1)) : "no time yet"}.`);
  }
  if (overview !== null && failing === null) {
    for (const { worker, why } of overview.missing) tell(`missing ${worker}`, "bad", `Worker ${place(worker)} does not answer: ${why.replace(worker, "it")}. Figures are without its own.`);
    const unowned = overview.agents.map(({ topic }) => {
      const held = new Set(overview.workers.flatMap((w) => w.partitions.filter((p) => p.topic === topic).map((p) => p.partition)));
      const free = [...Array(overview.partitions).keys()].filter((n) => !held.has(n));
      return free.length ? `${short(topic)} ${free.join(", ")}` : null;
    }).filter(Boolean);
    if (unowned.length) tell("unowned", "bad", `Partitions that no worker tells of: ${unowned.join("; ")}. Their events wait in Kafka.`);
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
    if (failing !== null && key !== "own") continue; // nobody knows
    troubles.delete(key);
    past.unshift({ ...trouble, until: now });
  }
  past.length = Math.min(past.length, PAST);
  wellSince = troubles.size ? null : (wellSince ?? now);
}

/** Return lists of values, by what `by` says of each. */
function group(values, by) {
  const found = {};
  for (const one of values) (found[by(one)] ??= []).push(one);
  return found;
}

const name = (worker) => `Worker ${place(worker.worker) || worker.name}`;

function codes() {
  const totals = {};
  for (const one of deadByCode) for (const [code, n] of Object.entries(one)) add(totals, code, n * POLL_MS / 1000);
  return Object.entries(totals).filter(([, n]) => n >= 0.5).sort((a, b) => b[1] - a[1]).map(([code, n]) => `${code} ${Math.round(n)}`);
}

function drawState() {
  const levels = [...troubles.values()].map((one) => one.level);
  const level = levels.includes("bad") ? "bad" : levels.length ? "warn" : last ? "good" : "";
  $("state").className = `banner ${level}`;
  const workers = last?.workers.length ?? 0;
  const title = levels.length ? (levels.length === 1 ? "One thing is wrong" : `${levels.length} things are wrong`)
    : last ? `All well: ${workers} worker${workers === 1 ? "" : "s"} at work` : "Asking the workers…";
  if ($("state-title").textContent !== title) $("state-title").textContent = title; // said aloud when it changes
  document.title = `${level === "good" || !level ? "" : "⚠ "}Millrace${last ? ` – ${last.service}` : ""}`;
  const shown = [...troubles.values()].sort((a, b) => a.since - b.since)
    .map((one) => el("li", {}, el("b", {}, `since ${time(one.since)}`), ` ${one.text}`));
  if (!shown.length && wellSince && last) shown.push(el("li", {}, `since ${time(wellSince)}${wellSince - history.time[0] < 5 ? ", when this page was opened" : ""}`));
  $("troubles").replaceChildren(...shown);
  $("past").hidden = !past.length;
  $("past-count").textContent = `${past.length}`;
  $("past-list").replaceChildren(...past.map((one) => el("li", {}, el("b", {}, `${time(one.since)}–${time(one.until)}`), ` ${one.text}`)));
  document.body.classList.toggle("stale", failing !== null);
}

// ---- Figures

const FIGURES = [
  ["events", "Throughput", (v) => count(v === null ? v : Math.round(v)), "events/s", "--blue"],
  ["lag", "Lag", (v) => count(v), "events", "--blue"],
  ["p99", "Latency, 99 %", latency, "", "--blue"],
  ["duplicates", "Duplicates", (v) => count(v), "/s", "--soft"],
  ["dead", "Dead letters", (v) => count(v), "/s", "--bad"],
  ["late", "Late", (v) => count(v), "/s", "--warn"],
];
const charts = new Map();

function makeChart(box, colour, format, { sync = true, least = 1 } = {}) {
  const line = style(colour), soft = style("--soft"), grid = style("--line");
  const axis = { stroke: soft, grid: { stroke: grid, width: 1 }, ticks: { show: false }, font: "11px system-ui" };
  const chart = new uPlot({
    width: box.clientWidth || 300, height: box.clientHeight || 92,
    legend: { show: false },
    cursor: { y: false, points: { size: 6 }, drag: { x: false, y: false }, ...(sync ? { sync: { key: "page" } } : {}) },
    scales: { y: { range: (_, low, high) => [0, Math.max(high || 0, least) * 1.15] } },
    axes: [
      { ...axis, size: 22, space: 70, values: (_, ticks, __, ___, step) => ticks.map((t) => clock.format(new Date(t * 1000)).slice(0, step < 60 ? 8 : 5)) },
      { ...axis, size: 54, space: 20, values: (_, ticks) => ticks.map(format) },
    ],
    series: [{}, { stroke: line, width: 1.5, fill: `${line}22`, spanGaps: false, points: { show: false } }],
    hooks: { setCursor: [(u) => box.dispatchEvent(new CustomEvent("cursor", { detail: u.cursor.idx }))] },
  }, [[], []], box);
  new ResizeObserver(() => { if (box.clientWidth) chart.setSize({ width: box.clientWidth, height: box.clientHeight }); }).observe(box);
  return chart;
}

function makeFigures() {
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

function drawFigures() {
  for (const [key, , format, unit] of FIGURES) {
    charts.get(key).setData([history.time, history[key]]);
    const figure = $(`figure-${key}`);
    const value = history[key].at(-1) ?? null;
    figure.querySelector(".value").replaceChildren(format(value), el("small", {}, value === null ? "" : ` ${unit}`));
    if (figure.dataset.at) continue;
    const totals = (of) => last.workers.reduce((t, w) => t + Object.values(w.topics).reduce((s, one) => s + sum(one[of]), 0), 0);
    const said = {
      events: () => `into ${entries(last).map(short).join(", ")}`,
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
  const all = last.workers.flatMap((worker) => worker.partitions).filter((p) => p.lag);
  return all.sort((a, b) => b.lag - a.lag)[0];
}

// ---- Workers

function byTopic(partitions) {
  return Object.entries(group(partitions, (one) => one.topic)).map(([topic, held]) =>
    el("div", {}, el("span", { class: "dim" }, `${short(topic)} `), held.map((one) => one.partition).join(", ")));
}

function workerRow(worker) {
  const own = worker.worker === last.asked;
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
  const missing = last.missing.find((one) => one.worker === url);
  return el("tr", { class: "dim" }, el("th", { scope: "row" }, place(url)),
    el("td", { class: missing ? "is-bad" : "", colspan: 6 }, missing ? `does not answer since ${time(since)}` : `left the group; not seen since ${time(known.get(url))}`));
}

function drawWorkers() {
  const unknown = last.missing.filter((one) => !known.has(one.worker)).map((one) => [one.worker, history.time[0]]);
  $("worker-rows").replaceChildren(...last.workers.map(workerRow), ...[...gone, ...unknown].map(([url, since]) => goneRow(url, since)));
}

// ---- Panels

const drawn = new Map(); // title to how a panel is drawn

/** The event time that a table has come to; where it does not know yet, that of the others; null before any event. */
function watermark(table) {
  const source = last.tables.find((one) => one.name === table)?.source;
  const partitions = last.workers.flatMap((w) => w.partitions).filter((p) => p.watermark);
  const own = partitions.filter((p) => p.topic === source);
  return (own.length ? own : partitions).reduce((most, p) => Math.max(most, p.watermark), 0) || null;
}

function makePanel(panel) {
  const note = el("p", { class: "note" }, "Loading…");
  const body = el("div");
  const box = el("article", { class: "panel", "data-table": panel.table }, el("h2", {}, panel.title), note, body);
  $("panels").append(box);
  const say = (answer, text) => {
    const missing = answer.partial ? `Too small, without partition ${answer.missing.map((one) => one.partition).join(", ")}. ` : "";
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
    el("tbody", {}, ...keys.map((one) => el("tr", {}, el("td", {}, keyButton(panel.table, one.key)), ...panel.columns.map((c) => el("td", { class: "nowrap" }, scalar(one.newest[c])))))))));
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

async function drawPanels() {
  for (const panel of last.panels) {
    const key = `${panel.title} ${panel.path}`;
    if (!drawn.has(key)) drawn.set(key, makePanel(panel));
  }
  await Promise.all([...drawn.values()].map((panel) => panel.refresh()));
}

// ---- Looking a key up

function scalar(value) {
  if (value === null || value === undefined) return "–";
  if (typeof value === "object") return JSON.stringify(value);
  if (typeof value === "number") return String(Math.round(value * 1e6) / 1e6);
  if (typeof value === "boolean") return value ? "yes" : "no";
  return /^\d{4}-\d\d-\d\dT[\d:.]+Z$/.test(value) ? time(Date.parse(value) / 1000) : String(value);
}

/** Show any JSON: objects as lists of names, lists of objects as tables. */
function shown(value, title) {
  if (Array.isArray(value) && value.some((one) => one && typeof one === "object" && !Array.isArray(one))) {
    const rows = value.slice(-50).reverse();
    const columns = [...new Set(rows.flatMap((row) => Object.keys(row)))];
    return el("div", {}, el("h3", {}, `${title} (${value.length}${value.length > rows.length ? `, the last ${rows.length}` : ""}, the last first)`),
      el("table", {}, el("thead", {}, el("tr", {}, ...columns.map((c) => el("th", { scope: "col", class: typeof rows[0][c] === "number" ? "number" : "" }, c)))),
        el("tbody", {}, ...rows.map((row) => el("tr", {}, ...columns.map((c) => el("td", { class: typeof row[c] === "number" ? "number" : "" }, scalar(row[c]))))))));
  }
  if (value && typeof value === "object" && !Array.isArray(value)) {
    const list = el("dl");
    const deep = [];
    for (const [key, one] of Object.entries(value)) {
      if (one && typeof one === "object" && Object.keys(one).length) deep.push(shown(one, key));
      else list.append(el("dt", {}, key), el("dd", {}, scalar(one)));
    }
    return el("div", {}, title ? el("h3", {}, title) : null, list.childElementCount ? list : null, ...deep);
  }
  return el("dl", {}, el("dt", {}, title), el("dd", {}, Array.isArray(value) ? value.map(scalar).join(", ") : scalar(value)));
}

async function lookUp(table, key, jump = false) {
  $("look-table").value = table;
  $("look-key").value = key;
  const result = $("look-result");
  if (jump) { $("look-up").scrollIntoView(); $("look-key").focus({ preventScroll: true }); }
  result.replaceChildren(el("p", { class: "dim" }, "Asking…"));
  try {
    const { partitions, partial, missing, as_of, table: _, key: __, ...answer } = await ask(`/tables/${encodeURIComponent(table)}/${encodeURIComponent(key)}`);
    const from = (partitions ?? []).map((p) => `partition ${p.partition} at offset ${p.offset ?? "–"} (${place(p.worker)})`).join(", ");
    result.replaceChildren(
      el("p", {}, el("strong", {}, key), ` in ${table}`, as_of ? `, as of ${as_of}` : ""),
      partial ? el("p", { class: "is-bad" }, `In part only; sums are too small. ${missing.map((one) => `Partition ${one.partition}: ${one.why}.`).join(" ")}`) : "",
      shown(answer, ""),
      el("details", {}, el("summary", {}, "Where it comes from, and as JSON"), el("p", {}, el("small", {}, from)), el("pre", {}, JSON.stringify(answer, null, 2))));
  } catch (error) {
    result.replaceChildren(el("p", { class: error.status === 404 ? "" : "is-bad" }, error.status === 404 ? error.message : `No answer: ${reason(error)}`));
  }
}

$("look-form").addEventListener("submit", (event) => {
  event.preventDefault();
  lookUp($("look-table").value, $("look-key").value);
});

let suggesting = 0;
async function suggest() {
  const table = $("look-table").value;
  const mine = ++suggesting;
  await new Promise((resolve) => setTimeout(resolve, 250));
  if (mine !== suggesting || !last?.tables.find((one) => one.name === table)?.listed) return;
  const answer = await ask(`/tables/${encodeURIComponent(table)}?${new URLSearchParams({ prefix: $("look-key").value, limit: 10 })}`).catch(() => ({}));
  if (mine === suggesting) $("look-keys").replaceChildren(...(answer.keys ?? []).map((one) => el("option", { value: one.key })));
}
$("look-key").addEventListener("input", suggest);
$("look-key").addEventListener("focus", suggest);
$("look-table").addEventListener("change", () => { $("look-keys").replaceChildren(); });

function fillTables() {
  const select = $("look-table");
  if (select.options.length === last.tables.length) return;
  select.replaceChildren(...last.tables.map((one) => el("option", { value: one.name }, `${one.name} (${one.kind})`)));
}

document.addEventListener("keydown", (event) => {
  if (event.key === "/" && !/^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement.tagName) && !document.querySelector("dialog[open]")) {
    event.preventDefault();
    $("look-up").scrollIntoView();
    $("look-key").focus({ preventScroll: true });
  }
});

// ---- Dead letters

function drawDead() {
  const totals = {};
  for (const worker of last.workers) for (const topic of Object.values(worker.topics)) for (const [code, n] of Object.entries(topic.dead)) add(totals, code, n);
  const sorted = Object.entries(totals).filter(([, n]) => n).sort((a, b) => b[1] - a[1]);
  $("dead-counts").textContent = sorted.length
    ? `Since these workers began: ${sorted.map(([code, n]) => `${code} ${count(n)}`).join(", ")}. In the last minute: ${codes().join(", ") || "none"}.`
    : "None since these workers began.";
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
    el("h3", {}, `${title}, ${count(raw.bytes)} bytes${raw.text === null ? ", no text" : ""}`),
    raw.text === null ? digits : el("pre", {}, raw.text + (raw.bytes > 65536 ? " …" : "")),
    raw.text === null ? "" : el("details", {}, el("summary", {}, "In hexadecimal digits"), digits),
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
      shown({ code: one.code, reason: one.reason, "came from": one.origin, "lies at": `${topic}/${partition}/${offset}`, time: new Date(one.time * 1000).toISOString() }, ""),
      el("h3", {}, "Headers"), el("dl", {}, ...headers.flatMap((h) => [el("dt", {}, h.name), el("dd", {}, h.value)])),
      ...bytes("Key", key), ...bytes("Value", value),
      el("p", {}, el("small", {}, `To send it again, mended: millrace dead-letters replay ${one.origin} --value mended.json`)));
  } catch (error) {
    body.replaceChildren(el("p", { class: "is-bad" }, reason(error)));
  }
}

// ---- Topology

const SVG = "http://www.w3.org/2000/svg";
function svg(tag, attributes, ...children) {
  const made = document.createElementNS(SVG, tag);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function graph() {
  const nodes = new Map(), lines = [];
  const node = (id) => { if (!nodes.has(id)) nodes.set(id, { id, depth: 0 }); return nodes.get(id); };
  for (const agent of last.agents) {
    node(agent.topic);
    Object.assign(node(`@${agent.agent}`), { agent });
    lines.push([agent.topic, `@${agent.agent}`]);
    const outputs = new Set(last.workers.flatMap((w) => Object.keys(w.topics[agent.topic]?.outputs ?? {})));
    for (const to of [...outputs].sort()) {
      Object.assign(node(to), { wrong: to === agent.dead_letters || to === agent.late || nodes.get(to)?.wrong });
      lines.push([`@${agent.agent}`, to]);
    }
  }
  for (let i = 0; i < nodes.size; i++) for (const [from, to] of lines) node(to).depth = Math.min(nodes.size, Math.max(node(to).depth, node(from).depth + 1));
  return { nodes, lines };
}

function drawTopology() {
  const { nodes, lines } = graph();
  const WIDTH = 152, GAP = 54, HEIGHT = 44, SPACE = 14;
  const columns = [];
  for (const one of nodes.values()) (columns[one.depth] ??= []).push(one);
  const used = columns.filter(Boolean);
  // What goes on lies above what ends here.
  const goesOn = new Set(lines.map(([from]) => from));
  for (const column of used) column.sort((a, b) => goesOn.has(b.id) - goesOn.has(a.id) || Boolean(a.wrong) - Boolean(b.wrong));
  const height = Math.max(...used.map((c) => c.length)) * (HEIGHT + SPACE) - SPACE + 4;
  used.forEach((column, x) => column.forEach((one, y) => Object.assign(one, { x: 2 + x * (WIDTH + GAP), y: 2 + y * (HEIGHT + SPACE) })));
  const width = used.length * (WIDTH + GAP) - GAP + 4;
  const picture = svg("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": "Topics and agents, with records a second; the table below says the same" });
  const labels = [];
  for (const [from, to] of lines) {
    const a = nodes.get(from), b = nodes.get(to);
    const x1 = a.x + WIDTH, y1 = a.y + HEIGHT / 2, x2 = b.x, y2 = b.y + HEIGHT / 2, middle = x1 + GAP / 2;
    const rate = edges.get(`${from} → ${to}`) ?? 0;
    picture.append(svg("path", { d: `M${x1} ${y1}C${middle} ${y1} ${middle} ${y2} ${x2} ${y2}`, class: rate >= 0.05 ? "busy" : "" }));
    labels.push(svg("text", { class: "rate", x: x2 - 6, y: y2 - 4, "text-anchor": "end" }, `${count(Math.round(rate * 10) / 10)}/s`));
  }
  for (const one of nodes.values()) {
    const label = one.agent ? one.agent.agent : short(one.id);
    const lag = one.agent ? null : last.workers.flatMap((w) => w.partitions).filter((p) => p.topic === one.id).reduce((t, p) => t + (p.lag ?? 0), 0);
    const read = last.agents.some((agent) => agent.topic === one.id);
    const sub = one.agent ? one.agent.tables.join(", ") || "no tables" : read ? `lag ${count(lag)}` : one.wrong ? "set aside" : "result";
    const cut = (text, most) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);
    picture.append(svg("g", { class: one.agent ? "agent" : one.wrong ? "wrong" : "", transform: `translate(${one.x} ${one.y})` },
      svg("title", {}, one.agent ? `agent ${label}: ${one.agent.about} Tables: ${sub}` : one.id),
      svg("rect", { width: WIDTH, height: HEIGHT, rx: one.agent ? 14 : 3 }),
      svg("text", { x: 10, y: 18 }, cut(one.agent ? `agent ${label}` : label, 22)),
      svg("text", { x: 10, y: 34, class: "sub" }, cut(sub, 26))));
  }
  picture.append(...labels);
  $("graph").replaceChildren(picture);
  $("edge-rows").replaceChildren(...lines.map(([from, to]) => el("tr", {}, el("td", {}, from.replace("@", "agent ")), el("td", {}, to.replace("@", "agent ")), el("td", { class: "number" }, count(edges.get(`${from} → ${to}`) ?? 0)))));
}

// ---- The loop

let polls = 0;
let paused = false;

async function poll() {
  try {
    const overview = await ask("/overview", 8000);
    last = overview;
    failing = null;
    remember(overview);
    $("service").textContent = overview.service === "millrace" ? "" : overview.service;
    $("asked").textContent = `served by ${location.host}, ${time(Date.now() / 1000)}`;
  } catch (error) {
    failing = reason(error);
  }
  listTroubles(last);
  drawState();
  if (failing !== null) return;
  drawFigures();
  drawWorkers();
  drawDead();
  drawTopology();
  fillTables();
  if (polls++ % 2 === 0) await drawPanels();
}

async function run() {
  for (;;) {
    const began = Date.now();
    if (!paused && !document.hidden) await poll();
    await new Promise((resolve) => setTimeout(resolve, Math.max(200, POLL_MS - (Date.now() - began))));
  }
}

$("pause").addEventListener("click", () => {
  paused = !paused;
  $("pause").setAttribute("aria-pressed", String(paused));
  $("pause").textContent = paused ? "Go on" : "Pause";
});

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  makeFigures();
  for (const box of document.querySelectorAll(".panel .chart")) box.remove(); // drawn anew with the next answer
  if (last) drawFigures();
});

makeFigures();
run();
