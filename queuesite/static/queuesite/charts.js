"use strict";
// Draws the charts of a page by Chart.js, and again whenever an update brought new numbers or the theme changed.
// A chart is <div class="qs-chart" id="X" data-keep data-numbers="Y"><canvas></canvas></div>, and its numbers stand
// beside it, by Django's json_script: {label, unit, labels: [...], series: [{label, values, colour, dash: [on, off]}]}.
// Labels are moments in UTC, and are shown in the viewer's zone.
// Chart.js, whose address is the chart's data-library, is loaded when a page has its first chart.
// `marks` are events, [{at, moment, text}]: a dashed line at that point, with a triangle at its top, and the text in the tooltip.
// Lines differ in dashes too, and not by colour alone; where Chart.js cannot draw, the label says it in words.
(() => {
  const drawn = new Map();
  let library;

  const load = (address) => new Promise((loaded, failed) => {
    document.head.append(Object.assign(document.createElement("script"), { src: address, onload: loaded, onerror: failed }));
  });

  const numbers = (holder) => JSON.parse(document.getElementById(holder.dataset.numbers)?.textContent ?? "null");
  const colour = (holder, name) => getComputedStyle(holder).getPropertyValue(`--qs-${name}`).trim();

  const dataset = (holder, series) => ({
    label: series.label,
    data: series.values,
    borderColor: colour(holder, series.colour),
    backgroundColor: `color-mix(in srgb, ${colour(holder, series.colour)} 15%, transparent)`,
    borderDash: series.dash ?? [],
    borderWidth: 2,
    // A line has no place for a single value between gaps.
    pointRadius: ({ dataset: { data }, dataIndex: at }) => (data[at - 1] ?? data[at + 1] ?? null) === null ? 3 : 0,
    pointHitRadius: 8,
    fill: series.dash === undefined,
    tension: 0,
  });

  const DAY_MS = 86_400_000;
  const { local, utc } = globalThis.queuesiteMoments;
  const exactly = (moment) => `${local(new Date(moment))} (${utc(new Date(moment))})`;
  const said = (mark) => `${local(new Date(mark.moment))} ${mark.text}`;
  // Hours of one day need no date.
  const tick = (labels) => (place) => {
    const text = local(new Date(labels[place]));
    return new Date(labels.at(-1)) - new Date(labels[0]) > DAY_MS ? text.slice(5, 16) : text.slice(11, 16);
  };

  const marksAt = (chart, at) => (chart.options.plugins.marks?.list ?? []).filter((mark) => mark.at === at);

  const marks = {
    id: "marks",
    afterDatasetsDraw: (chart, _, { list = [], colour: paint }) => {
      const { ctx, chartArea: { top, bottom }, scales: { x } } = chart;
      ctx.save();
      ctx.strokeStyle = ctx.fillStyle = paint;
      ctx.setLineDash([2, 3]);
      for (const at of new Set(list.map((mark) => mark.at))) {
        const place = x.getPixelForValue(at);
        ctx.beginPath(); ctx.moveTo(place, top); ctx.lineTo(place, bottom); ctx.stroke();
        ctx.beginPath(); ctx.moveTo(place - 4, top - 6); ctx.lineTo(place + 4, top - 6); ctx.lineTo(place, top); ctx.fill();
      }
      ctx.restore();
    },
  };

  const options = (holder, { unit, labels }, list) => {
    const axis = { ticks: { color: colour(holder, "text"), maxRotation: 0, autoSkipPadding: 24 } };
    const title = { display: true, text: unit, color: colour(holder, "text") };
    return {
      animation: false,
      responsive: true,
      maintainAspectRatio: false,
      interaction: { mode: "index", intersect: false },
      plugins: {
        marks: { list, colour: colour(holder, "text") },
        tooltip: {
          callbacks: {
            title: ([item]) => exactly(labels[item.dataIndex]),
            footer: ([item]) => marksAt(item.chart, item.dataIndex).map(said),
          },
        },
        legend: {
          align: "end",
          labels: { color: colour(holder, "text"), boxWidth: 28, boxHeight: 0 },
        },
      },
      scales: {
        x: { ...axis, ticks: { ...axis.ticks, callback: tick(labels) }, grid: { display: false } },
        y: { ...axis, title, beginAtZero: true, border: { display: false }, grid: { color: colour(holder, "line") } },
      },
    };
  };

  const draw = (holder) => {
    const found = numbers(holder);
    const canvas = holder.querySelector("canvas");
    if (found === null || canvas === null) return;
    canvas.setAttribute("role", "img");
    const list = found.marks ?? [];
    const events = list.length ? `; events: ${list.map(said).join("; ")}` : "";
    canvas.setAttribute("aria-label", found.label + events);
    const data = { labels: found.labels, datasets: found.series.map((series) => dataset(holder, series)) };
    const chart = drawn.get(canvas);
    if (chart === undefined) {
      drawn.set(canvas, new Chart(canvas, { type: "line", data, options: options(holder, found, list), plugins: [marks] }));
    } else {
      // What the reader has hidden by a click on the legend stays hidden.
      data.datasets.forEach((set, place) => { set.hidden = !chart.isDatasetVisible(place); });
      Object.assign(chart, { data, options: options(holder, found, list) });
      chart.update("none");
    }
  };

  const drawAll = async () => {
    drawn.forEach((chart, canvas) => {
      if (!canvas.isConnected) {
        chart.destroy();
        drawn.delete(canvas);
      }
    });
    const holders = document.querySelectorAll(".qs-chart");
    if (holders.length === 0) return;
    try {
      await (library ??= load(holders[0].dataset.library));
    } catch {
      library = undefined;
      return;
    }
    document.querySelectorAll(".qs-chart").forEach(draw);
  };

  document.addEventListener("DOMContentLoaded", drawAll);
  document.addEventListener("live:updated", drawAll);
  new MutationObserver(drawAll).observe(document.documentElement, { attributeFilter: ["class"] });
})();
