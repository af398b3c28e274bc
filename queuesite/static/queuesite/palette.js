"use strict";
// The palette: Ctrl-K or ⌘K, or the box in the header (data-palette), opens a dialog that finds queues, jobs, messages,
// failures, pages and actions. It asks the server (jobs/admin/palette.py), which answers what this user may see and do.
(() => {
  const { find, act } = document.currentScript.dataset;
  // Milliseconds: the pause in typing before the server is asked, when the dialog says that it waits, and when it gives up.
  const PAUSE = 120, WAITS = 400, LONGEST = 5000;
  let dialog, input, list, said, timer, asked, items = [], chosen = 0;
  // What `items` answers, and whether Enter was pressed before they came.
  let answered = null, wanted = false;

  const element = (tag, properties, ...children) => {
    const made = Object.assign(document.createElement(tag), properties);
    made.append(...children);
    return made;
  };

  const build = () => {
    input = element("input", { type: "text", className: "qs-input", autocomplete: "off", spellcheck: false, maxLength: 100 });
    list = element("ul", { id: "palette-list", className: "qs-palette-list" });
    said = element("p", { className: "qs-palette-said qs-note" });
    said.setAttribute("role", "status");
    const attributes = {
      role: "combobox", "aria-label": "Find", "aria-expanded": "true", "aria-controls": "palette-list",
      "aria-autocomplete": "list", placeholder: "Queue, job, message, failure, page or action",
    };
    for (const [name, value] of Object.entries(attributes)) input.setAttribute(name, value);
    list.setAttribute("role", "listbox");
    list.setAttribute("aria-label", "Found");
    dialog = element("dialog", { className: "qs-dialog qs-palette" }, input, said, list);
    dialog.setAttribute("aria-label", "Find");
    document.body.append(dialog);
    input.addEventListener("input", () => { wanted = false; clearTimeout(timer); timer = setTimeout(ask, PAUSE); });
    input.addEventListener("keydown", onKey);
    list.addEventListener("click", (event) => {
      const option = event.target.closest("[role=option]");
      if (option) take(Number(option.dataset.place));
    });
    dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
    dialog.addEventListener("close", () => { clearTimeout(timer); asked?.abort(); asked = null; wanted = false; });
  };

  const ask = async () => {
    asked?.abort();
    const own = asked = new AbortController();
    const text = input.value;
    const waits = setTimeout(() => { said.textContent = "Searching …"; }, WAITS);
    const gives_up = setTimeout(() => own.abort(), LONGEST);
    let problem = "";
    let found = [];
    try {
      const answer = await fetch(`${find}?q=${encodeURIComponent(text)}`, { redirect: "manual", signal: own.signal });
      if (answer.type === "opaqueredirect") return location.reload(); // logged out
      if (answer.ok) found = (await answer.json()).items;
      else problem = answer.status === 503 ? "A server that this needs is unavailable." : `The server answers ${answer.status}.`;
    } catch {
      problem = "The server does not answer.";
    } finally {
      clearTimeout(waits);
      clearTimeout(gives_up);
    }
    if (own !== asked) return;
    items = found;
    chosen = 0;
    answered = problem ? null : text;
    said.textContent = problem ? `${problem} Enter asks again.` : found.length ? "" : "Nothing found.";
    show();
    if (wanted && !problem) take(0);
    wanted = false;
  };

  const show = () => {
    list.replaceChildren();
    let kind;
    items.forEach((item, place) => {
      if (item.kind !== kind) {
        kind = item.kind;
        list.append(Object.assign(element("li", { className: "qs-palette-kind", textContent: kind }), { role: "presentation" }));
      }
      const option = element("li", { id: `palette-${place}` }, element("span", { textContent: item.title }));
      if (item.note) option.append(" ", element("span", { className: "qs-note", textContent: item.note }));
      option.dataset.place = place;
      option.setAttribute("role", "option");
      list.append(option);
    });
    list.hidden = items.length === 0;
    mark();
  };

  const mark = () => {
    list.querySelectorAll("[role=option]").forEach((option) => {
      option.setAttribute("aria-selected", String(Number(option.dataset.place) === chosen));
    });
    if (items.length) input.setAttribute("aria-activedescendant", `palette-${chosen}`);
    else input.removeAttribute("aria-activedescendant");
    document.getElementById(`palette-${chosen}`)?.scrollIntoView({ block: "nearest" });
    if (chosen === 0) list.scrollTop = 0; // with the heading
  };

  const onKey = (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step && items.length) {
      event.preventDefault();
      chosen = (chosen + step + items.length) % items.length;
      mark();
    } else if (event.key === "Enter" && !event.isComposing) {
      event.preventDefault();
      if (answered === input.value) return take(chosen);
      // What is shown is not of this text: Enter takes what the server finds for it.
      clearTimeout(timer);
      ask();
      wanted = true;
    }
  };

  const take = (place) => {
    const item = items[place];
    if (item === undefined) return;
    if (item.address) {
      location.assign(item.address);
      return;
    }
    const token = document.querySelector("input[name=csrfmiddlewaretoken]")?.value ?? "";
    const back = encodeURIComponent(location.pathname + location.search);
    const form = element("form", { method: "post", action: `${act}?next=${back}`, hidden: true });
    for (const [name, value] of [["csrfmiddlewaretoken", token], ["action", item.action], ["chosen", item.chosen]]) {
      form.append(element("input", { type: "hidden", name, value }));
    }
    document.body.append(form);
    form.submit();
  };

  const open = (text = "") => {
    if (!dialog) build();
    if (dialog.open) return;
    input.value = text;
    input.select();
    items = [];
    answered = null;
    said.textContent = "";
    show();
    dialog.showModal();
    ask();
  };

  document.addEventListener("keydown", (event) => {
    if ((event.ctrlKey || event.metaKey) && !event.altKey && !event.shiftKey && event.key.toLowerCase() === "k") {
      event.preventDefault();
      open();
    }
  });
  document.addEventListener("click", (event) => {
    const door = event.target.closest("[data-palette]");
    if (door) open(door.value);
  });
})();
