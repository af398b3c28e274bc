"use strict";
// Tells the parts of a page that ask for themselves anew (hx-trigger="poll from:document") when to, unless nobody sees
// them, and tells the reader when no answer comes.
(() => {
  const SECONDS = 2;
  const poll = () => document.dispatchEvent(new Event("poll"));
  const lost = (is) => document.querySelectorAll("[data-lost]").forEach((notice) => { notice.hidden = !is; });

  setInterval(() => { if (!document.hidden) poll(); }, SECONDS * 1000);
  document.addEventListener("visibilitychange", () => { if (!document.hidden) poll(); });
  for (const failed of ["htmx:sendError", "htmx:responseError", "htmx:timeout"]) {
    document.addEventListener(failed, () => lost(true));
  }
  document.addEventListener("htmx:beforeSwap", (event) => {
    // The session is over, and the login page came in place of the part: it belongs in the whole window.
    const asked = new URL(event.detail.requestConfig.path, location);
    if (new URL(event.detail.xhr.responseURL, location).pathname !== asked.pathname) {
      event.detail.shouldSwap = false;
      location.reload();
    } else if (event.detail.xhr.status === 200) {
      lost(false);
    }
  });
})();
