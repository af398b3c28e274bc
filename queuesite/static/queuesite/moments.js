"use strict";
// Shows moments in the viewer's zone, with UTC on hover, and counts on what is shown as "ago" or "since".
// A moment is <time datetime="2026-11-26T14:05:09Z" data-moment="moment|ago|since">, in UTC until this script has run.
(() => {
  // Filters by time read it (queuesite/admin/times.py).
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  if (zone) document.cookie = `zone=${zone}; path=/admin/; max-age=31536000; SameSite=Lax`;

  const UNITS = [[86_400, "d"], [3_600, "h"], [60, "min"], [1, "s"]];

  // The server's clock, by which everything here was written, is not the viewer's.
  const sent = Number(document.currentScript.dataset.now ?? NaN);
  const ahead = Number.isNaN(sent) ? 0 : sent - Date.now();

  // As the filter `duration` of the templates, in whole seconds.
  const duration = (seconds) => {
    let rest = Math.max(0, Math.round(seconds));
    const first = Math.max(0, UNITS.findIndex(([size]) => rest >= size));
    if (rest === 0) return "0 s";
    const parts = [];
    for (const [size, unit] of UNITS.slice(first, first + 2)) {
      const count = Math.floor(rest / size);
      rest %= size;
      if (count) parts.push(`${count} ${unit}`);
    }
    return parts.join(" ");
  };

  const two = (number) => String(number).padStart(2, "0");
  const local = (at) =>
    `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())} ` +
    `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
  const utc = (at) => `${at.toISOString().slice(0, 19).replace("T", " ")} UTC`;

  // For what draws moments itself.
  globalThis.queuesiteMoments = { local, utc };

  const show = (element) => {
    const at = new Date(element.dateTime);
    if (Number.isNaN(at.getTime())) return;
    const passed = (Date.now() + ahead - at.getTime()) / 1_000;
    const form = element.dataset.moment;
    let text = local(at);
    if (form === "since") text = duration(passed);
    else if (form === "ago") text = passed < -0.5 ? `in ${duration(-passed)}` : `${duration(passed)} ago`;
    if (element.textContent !== text) {
      // The text node stays, so that a selection that reaches over it does too.
      if (element.firstChild instanceof Text && element.childNodes.length === 1) element.firstChild.data = text;
      else element.textContent = text;
    }
    const title = form === "moment" ? utc(at) : `${utc(at)}; here ${local(at)}`;
    if (element.title !== title) element.title = title;
  };

  const showAll = (within) => within.querySelectorAll("time[data-moment]").forEach(show);

  document.addEventListener("DOMContentLoaded", () => showAll(document));
  document.addEventListener("live:arrived", (event) => showAll(event.detail));
  setInterval(() => {
    if (document.hidden) return;
    const selection = document.getSelection();
    document.querySelectorAll("time[data-moment=ago], time[data-moment=since]").forEach((element) => {
      // What somebody is about to copy stands still.
      if (selection.isCollapsed || !selection.containsNode(element, true)) show(element);
    });
  }, 1_000);
})();
