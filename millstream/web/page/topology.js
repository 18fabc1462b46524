// Topics and agents, with the rates between them.

import { $, el } from "./dom.js";
import { count } from "./format.js";
import { edges } from "./history.js";
import { short, state } from "./state.js";

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
  for (const agent of state.overview.agents) {
    node(agent.topic);
    Object.assign(node(`@${agent.agent}`), { agent });
    lines.push([agent.topic, `@${agent.agent}`]);
    const outputs = new Set(state.overview.workers.flatMap((w) => Object.keys(w.topics[agent.topic]?.outputs ?? {})));
    for (const to of [...outputs].sort()) {
      Object.assign(node(to), { wrong: to === agent.dead_letters || to === agent.late || nodes.get(to)?.wrong });
      lines.push([`@${agent.agent}`, to]);
    }
  }
  for (let i = 0; i < nodes.size; i++) for (const [from, to] of lines) node(to).depth = Math.min(nodes.size, Math.max(node(to).depth, node(from).depth + 1));
  return { nodes, lines };
}

export function drawTopology() {
  const { nodes, lines } = graph();
  const WIDTH = 152, GAP = 54, HEIGHT = 44, SPACE = 14;
  const columns = [];
  for (const one of nodes.values()) (columns[one.depth] ??= []).push(one);
  const used = columns.filter(Boolean);
  // Nodes with outputs are above those without.
  const goesOn = new Set(lines.map(([from]) => from));
  for (const column of used) column.sort((a, b) => goesOn.has(b.id) - goesOn.has(a.id) || Boolean(a.wrong) - Boolean(b.wrong));
  const height = Math.max(...used.map((c) => c.length)) * (HEIGHT + SPACE) - SPACE + 4;
  used.forEach((column, x) => column.forEach((one, y) => Object.assign(one, { x: 2 + x * (WIDTH + GAP), y: 2 + y * (HEIGHT + SPACE) })));
  const width = used.length * (WIDTH + GAP) - GAP + 4;
  const picture = svg("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": "Topics and agents, with records per second; the table below has the same data" });
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
    const lag = one.agent ? null : state.overview.workers.flatMap((w) => w.partitions).filter((p) => p.topic === one.id).reduce((t, p) => t + (p.lag ?? 0), 0);
    const read = state.overview.agents.some((agent) => agent.topic === one.id);
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
