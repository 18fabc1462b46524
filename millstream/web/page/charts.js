// Line charts over time. `uPlot` comes from its own script.

import { style } from "./dom.js";
import { clock } from "./format.js";

export function makeChart(box, colour, format, { sync = true, least = 1 } = {}) {
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
