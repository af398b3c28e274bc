"use strict";
// Keys for lists and pages: j and k move, Enter opens (the link has the focus), p pauses, r resumes, redrives or
// resolves, ? shows them. They do nothing while somebody types, or with Ctrl, Alt or Meta.
(() => {
  const HELP = [
    ["j, k", "next and previous row of the list"],
    ["Enter", "open the row"],
    ["p", "pause the queue"],
    ["r", "resume the queue, redrive its dead letters, or resolve the failure"],
    ["Ctrl K or ⌘K", "find a queue, job, message, failure, page or action"],
    ["Ctrl E or ⌘E", "light or dark"],
    ["?", "these keys"],
  ];
  // On a page of one thing, a key presses the first of these that is there.
  const BUTTONS = {
    p: ["#act-pause"],
    r: [
      "#act-resume", "main .qs-stack > .qs-row form[action$='/resolve/'] button",
      "main button[name=action][value=redrive]", "main button[name=do][value=redrive]",
    ],
  };
  // In a list of queues, the action for the row that has the focus.
  const ACTIONS = { p: "pause", r: "resume" };

  const rows = () => [...document.querySelectorAll("main tbody tr")].filter((row) => link(row) && row.checkVisibility());
  const link = (row) => row.querySelector("th a[href], a[href]");
  const current = () => document.activeElement?.closest?.("main tbody tr");

  const move = (step) => {
    const all = rows();
    if (all.length === 0) return;
    const place = all.indexOf(current());
    const next = place < 0 ? (step > 0 ? 0 : all.length - 1) : Math.min(all.length - 1, Math.max(0, place + step));
    link(all[next]).focus();
    all[next].scrollIntoView({ block: "nearest" });
  };

  const act = (key) => {
    const row = current();
    const box = row?.querySelector("input[name=chosen]");
    const form = document.getElementById("act");
    const select = form?.querySelector("select[name=action]");
    if (box && select && [...select.options].some((option) => option.value === ACTIONS[key])) {
      document.querySelectorAll("input[name=chosen]").forEach((one) => { one.checked = one === box; });
      select.value = ACTIONS[key];
      form.requestSubmit();
      return;
    }
    const resolve = key === "r" ? row?.querySelector("form[action$='/resolve/'] button") : null;
    (resolve ?? BUTTONS[key].map((one) => document.querySelector(one)).find(Boolean))?.click();
  };

  let help;
  const showHelp = () => {
    if (!help) {
      help = document.createElement("dialog");
      help.className = "qs-dialog";
      help.setAttribute("aria-labelledby", "keys-title");
      help.innerHTML = `<h2 class="qs-title" id="keys-title">Keys</h2><dl class="qs-keys"></dl>
        <form method="dialog"><button class="qs-switch">Close</button></form>`;
      for (const [keys, words] of HELP) {
        const term = document.createElement("dt");
        const kbd = document.createElement("kbd");
        kbd.textContent = keys;
        term.append(kbd);
        const said = document.createElement("dd");
        said.textContent = words;
        help.querySelector("dl").append(term, said);
      }
      document.body.append(help);
    }
    help.showModal();
  };

  const types = (element) =>
    element?.isContentEditable || element?.matches?.("textarea, select, input:not([type=checkbox], [type=radio])");

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    if (types(document.activeElement) || document.querySelector("dialog[open]")) return;
    const does = { j: () => move(1), k: () => move(-1), p: () => act("p"), r: () => act("r"), "?": showHelp }[event.key];
    if (does) {
      event.preventDefault();
      does();
    }
  });
})();
