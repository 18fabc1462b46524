// Renders JSON of any shape as elements.

import { el } from "./dom.js";
import { scalar } from "./format.js";

/** Render JSON: objects as definition lists, lists of objects as tables. */
export function shown(value, title) {
  if (Array.isArray(value) && value.some((one) => one && typeof one === "object" && !Array.isArray(one))) {
    const rows = value.slice(-50).reverse();
    const columns = [...new Set(rows.flatMap((row) => Object.keys(row)))];
    return el("div", {}, el("h3", {}, `${title} (${value.length}${value.length > rows.length ? `, the last ${rows.length}` : ""}, newest first)`),
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
