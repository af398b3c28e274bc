"use strict";
// Line charts of what a page has in its JSON (#charts), drawn anew whenever a part of the page was. A canvas names the
// entry by data-chart; one that `gathers` adds a point at each turn. Lines differ in dashes too, not by colour alone.
(() => {
  const COLOURS = { light: ["#2563eb", "#b91c1c", "#15803d"], dark: ["#60a5fa", "#f87171", "#4ade80"] };
  const DASHES = [[], [6, 3], [2, 3]];
  const MOST = 450;  // points that are gathered: a quarter of an hour
  const isDark = () => document.documentElement.classList.contains("dark");
  const charts = new Map();

  const made = (canvas) => new Chart(canvas, {
    type: "line",
    data: { labels: [], datasets: [] },
    options: {
      animation: false,
      maintainAspectRatio: false,
      interaction: { mode: "index", intersect: false },
      elements: { point: { radius: 0, hitRadius: 8 }, line: { borderWidth: 2, tension: 0 } },
      plugins: { legend: { position: "bottom" } },
      scales: {
        x: { ticks: { maxTicksLimit: 6, maxRotation: 0 }, grid: { display: false } },
        y: { beginAtZero: true, title: { display: true, text: canvas.dataset.unit } },
      },
    },
  });

  const coloured = (chart) => {
    const mode = isDark() ? "dark" : "light";
    const text = mode === "dark" ? "#d4d4d8" : "#3f3f46";
    chart.data.datasets.forEach((line, place) => {
      line.borderColor = line.backgroundColor = COLOURS[mode][place];
      line.borderDash = DASHES[place];
    });
    chart.options.plugins.legend.labels = { color: text, boxHeight: 0 };
    for (const axis of Object.values(chart.options.scales)) {
      axis.ticks.color = text;
      if (axis.title) axis.title.color = text;
      axis.grid = { ...axis.grid, color: mode === "dark" ? "#3f3f46" : "#e4e4e7" };
    }
    chart.update("none");
  };

  const draw = () => {
    const source = document.getElementById("charts");
    if (source === null) return;
    const data = JSON.parse(source.textContent);
    for (const canvas of document.querySelectorAll("canvas[data-chart]")) {
      const entry = data[canvas.dataset.chart];
      if (!charts.has(canvas)) charts.set(canvas, made(canvas));
      const chart = charts.get(canvas);
      const lines = chart.data.datasets;
      if (lines.length === 0) lines.push(...entry.series.map((one) => ({ label: one.label, data: [] })));
      if (entry.gathers) {
        chart.data.labels.push(new Date().toISOString().slice(11, 19));
        entry.series.forEach((one, place) => lines[place].data.push(one.value));
        for (const list of [chart.data.labels, ...lines.map((line) => line.data)]) if (list.length > MOST) list.shift();
      } else {
        chart.data.labels = entry.labels;
        entry.series.forEach((one, place) => { lines[place].data = one.values; });
      }
      coloured(chart);
    }
  };

  document.addEventListener("DOMContentLoaded", draw);
  document.addEventListener("htmx:afterSettle", draw);
  new MutationObserver(() => charts.forEach(coloured)).observe(
    document.documentElement, { attributes: true, attributeFilter: ["class"] });
})();
