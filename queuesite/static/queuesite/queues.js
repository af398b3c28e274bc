"use strict";
// The pages of queues: choosing all of a list, the options of the chosen handler, copying a command.
(() => {
  document.addEventListener("change", (event) => {
    if (event.target.matches("[data-choose-all]")) {
      document.querySelectorAll("input[name=chosen]").forEach((box) => { box.checked = event.target.checked; });
    } else if (event.target.matches("select[name=handler]")) {
      showOptions();
    }
  });

  // Fields that are disabled are not sent.
  const showOptions = () => {
    const select = document.querySelector("form select[name=handler]");
    if (select === null) return;
    document.querySelectorAll("[data-handler]").forEach((section) => {
      section.hidden = section.dataset.handler !== select.value;
    });
  };

  // In the form of a new queue, whose name decides; an existing queue's form has no such settings unless it is FIFO.
  const showFifo = () => {
    const name = document.querySelector("form input[name=name]");
    if (name === null) return;
    document.querySelectorAll("fieldset.qs-fifo").forEach((section) => {
      section.hidden = section.disabled = !name.value.trim().endsWith(".fifo");
    });
  };
  document.addEventListener("input", (event) => { if (event.target.matches("form input[name=name]")) showFifo(); });
  document.addEventListener("DOMContentLoaded", () => {
    showOptions();
    showFifo();
    // What was refused first is what somebody wants to mend first.
    document.querySelector("form [aria-invalid=true]:is(input, select, textarea)")?.focus();
  });

  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy]");
    if (button === null) return;
    const text = document.getElementById(button.dataset.copy).textContent;
    let copied = true;
    try { await navigator.clipboard.writeText(text); } catch { copied = false; }
    button.textContent = copied ? "Copied" : "Not allowed to copy: select the text";
  });
})();
