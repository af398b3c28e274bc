"use strict";
// Fills the strip of the system's parts, on every page and every second unless nobody sees it: an outage of SQS or MongoDB
// shows within three (see jobs/admin/status.py). It has a limit of its own: if there is no answer within three seconds, or
// another one than the strip, it says that, and not what was true before.
(() => {
  const SECONDS = 1;
  const LIMIT_MS = 3000;
  let asking = false;

  const problem = (text) => `<li class="qs-tone-danger">${text}</li>`;
  const show = (strip, html) => { if (strip.innerHTML !== html) strip.innerHTML = html; };

  const ask = async () => {
    const strip = document.querySelector("[data-status]");
    if (strip === null || asking || document.hidden) return;
    asking = true;
    try {
      const answer = await fetch(strip.dataset.status, {
        signal: AbortSignal.timeout(LIMIT_MS), redirect: "manual",
      });
      if (answer.type === "opaqueredirect") {
        show(strip, problem(`Your session has ended: <a href="${location.pathname}">log in again</a>`));
      } else {
        show(strip, answer.ok ? await answer.text() : problem(`Web server: error ${answer.status}`));
      }
    } catch {
      show(strip, problem("Web server: no answer within 3 s"));
    } finally {
      asking = false;
    }
  };

  document.addEventListener("DOMContentLoaded", ask);
  document.addEventListener("visibilitychange", ask);
  setInterval(ask, SECONDS * 1000);
})();
