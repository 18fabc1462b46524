// The key look-up in any table.

import { ask, reason } from "./asking.js";
import { $, el } from "./dom.js";
import { place } from "./format.js";
import { shown } from "./json.js";
import { state } from "./state.js";

export async function lookUp(table, key, jump = false) {
  $("look-table").value = table;
  $("look-key").value = key;
  const result = $("look-result");
  if (jump) { $("look-up").scrollIntoView(); $("look-key").focus({ preventScroll: true }); }
  result.replaceChildren(el("p", { class: "dim" }, "Loading…"));
  try {
    const { partitions, partial, missing, as_of, table: _, key: __, ...answer } = await ask(`/tables/${encodeURIComponent(table)}/${encodeURIComponent(key)}`);
    const from = (partitions ?? []).map((p) => `partition ${p.partition} at offset ${p.offset ?? "–"} (${place(p.worker)})`).join(", ");
    result.replaceChildren(
      el("p", {}, el("strong", {}, key), ` in ${table}`, as_of ? `, as of ${as_of}` : ""),
      partial ? el("p", { class: "is-bad" }, `Partial answer; sums are too small. ${missing.map((one) => `Partition ${one.partition}: ${one.why}.`).join(" ")}`) : "",
      shown(answer, ""),
      el("details", {}, el("summary", {}, "Source partitions and JSON"), el("p", {}, el("small", {}, from)), el("pre", {}, JSON.stringify(answer, null, 2))));
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
  if (mine !== suggesting || !state.overview?.tables.find((one) => one.name === table)?.listed) return;
  const answer = await ask(`/tables/${encodeURIComponent(table)}?${new URLSearchParams({ prefix: $("look-key").value, limit: 10 })}`).catch(() => ({}));
  if (mine === suggesting) $("look-keys").replaceChildren(...(answer.keys ?? []).map((one) => el("option", { value: one.key })));
}

$("look-key").addEventListener("input", suggest);
$("look-key").addEventListener("focus", suggest);
$("look-table").addEventListener("change", () => { $("look-keys").replaceChildren(); });

export function fillTables() {
  const select = $("look-table");
  if (select.options.length === state.overview.tables.length) return;
  select.replaceChildren(...state.overview.tables.map((one) => el("option", { value: one.name }, `${one.name} (${one.kind})`)));
}

document.addEventListener("keydown", (event) => {
  if (event.key === "/" && !/^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement.tagName) && !document.querySelector("dialog[open]")) {
    event.preventDefault();
    $("look-up").scrollIntoView();
    $("look-key").focus({ preventScroll: true });
  }
});
