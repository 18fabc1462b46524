// The live page. It sends requests to its own worker only: /overview for all workers' figures, /tables/… for the tables' rows.

import { ask, reason } from "./asking.js";
import { drawDead } from "./dead-letters.js";
import { $ } from "./dom.js";
import { drawFigures, makeFigures } from "./figures.js";
import { time } from "./format.js";
import { POLL_MS, remember } from "./history.js";
import { fillTables } from "./look-up.js";
import { drawPanels } from "./panels.js";
import { state } from "./state.js";
import { drawTopology } from "./topology.js";
import { drawState, listTroubles } from "./troubles.js";
import { drawWorkers } from "./workers.js";

let polls = 0;
let paused = false;

async function poll() {
  try {
    const overview = await ask("/overview", 8000);
    state.overview = overview;
    state.failing = null;
    remember(overview);
    $("service").textContent = overview.service === "millstream" ? "" : overview.service;
    $("asked").textContent = `served by ${location.host}, ${time(Date.now() / 1000)}`;
  } catch (error) {
    state.failing = reason(error);
  }
  listTroubles();
  drawState();
  if (state.failing !== null) return;
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
  $("pause").textContent = paused ? "Resume" : "Pause";
});

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  makeFigures();
  for (const box of document.querySelectorAll(".panel .chart")) box.remove(); // redrawn with the next answer
  if (state.overview) drawFigures();
});

makeFigures();
run();
