"use strict";
// The palette: Ctrl-K or ⌘K, or a button with data-palette, opens a dialog that finds pages, queues, jobs and failures.
// It asks the server (jobs/admin/palette.py), which answers what this user may see and do.
(() => {
  const { find, act } = document.currentScript.dataset;
  const PAUSE = 120;
  let dialog, input, list, timer, asked = 0, items = [], chosen = 0;

  const element = (tag, properties, ...children) => {
    const made = Object.assign(document.createElement(tag), properties);
    made.append(...children);
    return made;
  };

  const build = () => {
    input = element("input", { type: "text", className: "qs-input", autocomplete: "off", spellcheck: false });
    list = element("ul", { id: "palette-list", className: "qs-palette-list" });
    const attributes = {
      role: "combobox", "aria-label": "Find", "aria-expanded": "true", "aria-controls": "palette-list",
      "aria-autocomplete": "list", placeholder: "Queues, jobs, messages, failures, pages, actions",
    };
    for (const [name, value] of Object.entries(attributes)) input.setAttribute(name, value);
    list.setAttribute("role", "listbox");
    list.setAttribute("aria-label", "Found");
    dialog = element("dialog", { className: "qs-dialog qs-palette" }, input, list);
    dialog.setAttribute("aria-label", "Find");
    document.body.append(dialog);
    input.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(ask, PAUSE); });
    input.addEventListener("keydown", onKey);
    list.addEventListener("click", (event) => {
      const option = event.target.closest("[role=option]");
      if (option) take(Number(option.dataset.place));
    });
    dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  };

  const ask = async () => {
    const number = ++asked;
    try {
      const answer = await fetch(`${find}?q=${encodeURIComponent(input.value)}`, { redirect: "manual" });
      if (answer.type === "opaqueredirect") return location.reload();
      const found = answer.ok ? (await answer.json()).items : [];
      if (number !== asked) return;
      items = found;
      chosen = 0;
      show(answer.ok ? "Nothing found." : "The server cannot tell now.");
    } catch {
      if (number === asked) { items = []; show("The server does not answer."); }
    }
  };

  const show = (nothing) => {
    list.replaceChildren();
    let kind;
    items.forEach((item, place) => {
      if (item.kind !== kind) {
        kind = item.kind;
        list.append(Object.assign(element("li", { className: "qs-palette-kind", textContent: kind }), { role: "presentation" }));
      }
      const option = element("li", { id: `palette-${place}` }, element("span", { textContent: item.title }));
      if (item.note) option.append(element("span", { className: "qs-note", textContent: item.note }));
      option.dataset.place = place;
      option.setAttribute("role", "option");
      list.append(option);
    });
    if (items.length === 0) {
      const option = element("li", { textContent: nothing });
      option.setAttribute("role", "option");
      option.setAttribute("aria-disabled", "true");
      list.append(option);
    }
    mark();
  };

  const mark = () => {
    list.querySelectorAll("[role=option]").forEach((option) => {
      option.setAttribute("aria-selected", String(Number(option.dataset.place) === chosen && items.length > 0));
    });
    input.setAttribute("aria-activedescendant", items.length ? `palette-${chosen}` : "");
    document.getElementById(`palette-${chosen}`)?.scrollIntoView({ block: "nearest" });
  };

  const onKey = (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step && items.length) {
      event.preventDefault();
      chosen = (chosen + step + items.length) % items.length;
      mark();
    } else if (event.key === "Enter") {
      event.preventDefault();
      take(chosen);
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

  const open = () => {
    if (!dialog) build();
    if (dialog.open) return;
    input.value = "";
    dialog.showModal();
    ask();
  };

  document.addEventListener("keydown", (event) => {
    if ((event.ctrlKey || event.metaKey) && !event.altKey && !event.shiftKey && event.key.toLowerCase() === "k") {
      event.preventDefault();
      open();
    }
  });
  document.addEventListener("click", (event) => { if (event.target.closest("[data-palette]")) open(); });
})();
