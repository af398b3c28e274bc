"use strict";
// Keeps the live regions of a page up to date. A region <div data-live="URL"> asks for its URL every two seconds and is
// morphed into the answer, so everything that did not change stays as it is: scroll, selected text, open menus, focus,
// and what was typed or chosen.
//
// A page asks only for what it lacks: it sends the digests of its parts ({% part %} in the templates), and a part that
// has not changed comes back empty, with data-same. If nothing at all has changed, the answer is 304.
//
// Marks for the page's other parts:
//   data-keep         the element belongs to a script, and no answer changes it
//   data-own-*        the attribute belongs to a script
//   data-lost         a notice that is shown while the server does not answer
//   data-live-switch  the switch between live and paused, which is remembered; data-live-note says since when
// After each change, the document gets the event "live:updated"; the event "live:refresh" makes the page ask at once.
(() => {
  const EVERY = 2_000;
  // After LATE the reader is warned that the page may be old; after HOPELESS the request is repeated.
  const LATE = 3_000;
  const HOPELESS = 30_000;
  const PAUSED = "queuesite.paused";
  const PARTS = 500;

  const etags = new WeakMap();
  const asking = new WeakSet();
  let pressed = false;

  const paused = () => localStorage.getItem(PAUSED) !== null;
  const regions = () => document.querySelectorAll("[data-live]");
  const lost = (is) => document.querySelectorAll("[data-lost]").forEach((notice) => { notice.hidden = !is; });

  // What the reader has typed or chosen and not sent yet.
  const changed = (node) => {
    if (node instanceof HTMLSelectElement) {
      const first = [...node.options].findIndex((option) => option.defaultSelected);
      return node.selectedIndex !== Math.max(first, 0);
    }
    if (node instanceof HTMLTextAreaElement) return node.value !== node.defaultValue;
    if (!(node instanceof HTMLInputElement) || node.type === "hidden") return false;
    if (node.type === "checkbox" || node.type === "radio") return node.checked !== node.defaultChecked;
    return node.value !== node.defaultValue;
  };

  const kept = (node) =>
    node instanceof Element && (node.hasAttribute("data-keep") || node.hasAttribute("hx-preserve") || changed(node));

  const callbacks = {
    beforeNodeMorphed: (node, wanted) => !(wanted instanceof Element && wanted.hasAttribute("data-same")) && !kept(node),
    beforeAttributeUpdated: (name, node) =>
      !name.startsWith("data-own-") && !(name === "open" && node.matches("details, dialog")) &&
      !(name === "style" && node.hasAttribute("x-show")),
  };

  // A selection whose text was replaced goes on at the same place.
  const keepingSelection = (act) => {
    const selection = document.getSelection();
    const { anchorNode, anchorOffset, focusNode, focusOffset, isCollapsed } = selection;
    act();
    if (isCollapsed || !anchorNode?.isConnected || !focusNode?.isConnected) return;
    const within = (node, offset) => Math.min(offset, node.nodeType === Node.TEXT_NODE ? node.length : node.childNodes.length);
    selection.setBaseAndExtent(
      anchorNode, within(anchorNode, anchorOffset), focusNode, within(focusNode, focusOffset),
    );
  };

  const morph = (region, html) => {
    const template = document.createElement("template");
    template.innerHTML = html;
    // Answers have no tokens (see queuesite/live.py); the page has one since it was loaded.
    const token = document.querySelector("input[name=csrfmiddlewaretoken]")?.value ?? "";
    template.content.querySelectorAll("input[name=csrfmiddlewaretoken]").forEach((input) => {
      input.setAttribute("value", token);
    });
    document.dispatchEvent(new CustomEvent("live:arrived", { detail: template.content }));
    keepingSelection(() => Idiomorph.morph(region, template.content, { morphStyle: "innerHTML", callbacks }));
    document.dispatchEvent(new Event("live:updated"));
  };

  const ask = async (region) => {
    if (asking.has(region)) return;
    asking.add(region);
    const late = setTimeout(() => lost(true), LATE);
    try {
      const digests = [...region.querySelectorAll("[data-part]")].slice(0, PARTS).map((part) => part.dataset.part);
      const headers = { "HX-Request": "true", "X-Parts": digests.join(",") };
      if (etags.has(region)) headers["If-None-Match"] = etags.get(region);
      const answer = await fetch(region.dataset.live, {
        headers, redirect: "manual", signal: AbortSignal.timeout(HOPELESS),
      });
      // The session or a permission has ended, or what the page shows: the page itself says so.
      if (answer.type === "opaqueredirect" || [401, 403, 404].includes(answer.status)) return location.reload();
      if (answer.status !== 304) {
        if (!answer.ok) throw new Error(String(answer.status));
        const html = await answer.text();
        // A click that has begun must find its target where it was; the next answer is as good.
        if (pressed || !region.isConnected || paused()) return;
        morph(region, html);
        etags.set(region, answer.headers.get("ETag"));
      }
      lost(false);
    } catch {
      lost(true);
    } finally {
      clearTimeout(late);
      asking.delete(region);
    }
  };

  const refresh = () => { if (!document.hidden && !paused()) regions().forEach(ask); };

  const showSwitch = () => {
    const since = localStorage.getItem(PAUSED);
    document.querySelectorAll("[data-live-switch]").forEach((button) => {
      button.setAttribute("aria-checked", String(since === null));
    });
    document.querySelectorAll("[data-live-note]").forEach((note) => {
      note.textContent = since === null ? "" : `paused at ${since}`;
    });
  };

  document.addEventListener("click", (event) => {
    if (!event.target.closest("[data-live-switch]")) return;
    if (paused()) localStorage.removeItem(PAUSED);
    else localStorage.setItem(PAUSED, new Date().toLocaleTimeString("sv"));
    showSwitch();
    refresh();
  });
  // Other tabs of the same viewer follow.
  addEventListener("storage", (event) => { if (event.key === PAUSED) { showSwitch(); refresh(); } });

  addEventListener("pointerdown", () => { pressed = true; }, true);
  for (const released of ["pointerup", "pointercancel", "blur"]) {
    // The click comes after the release.
    addEventListener(released, () => setTimeout(() => { pressed = false; }), true);
  }

  document.addEventListener("DOMContentLoaded", showSwitch);
  document.addEventListener("live:refresh", refresh);
  document.addEventListener("visibilitychange", refresh);
  setInterval(refresh, EVERY);
})();
