// Searches the steps and their logs, chooses steps by how they ended, and opens what an address names.
"use strict";
(() => {
  const list = document.getElementById("list");
  const search = document.getElementById("search");
  const found = document.getElementById("found");
  const nothing = document.getElementById("nothing");
  const all = document.getElementById("all");
  const chips = [...document.querySelectorAll(".chip[data-look]")];
  const steps = [...list.children].map((element) => ({ element, look: element.classList[1] }));
  // More highlights would slow scrolling down, and nobody steps through them.
  const MOST = 5000;
  const highlights = "highlights" in CSS ? CSS.highlights : null;
  let hits = [];
  let at = -1;

  // The text of a step, read when somebody first searches.
  function texts(step) {
    if (!step.texts) {
      const log = step.element.querySelector(".log");
      const head = step.element.querySelector(".what");
      const body = [...step.element.querySelectorAll(".changes, .failure")];
      step.texts = [head, ...body, log].filter(Boolean).map((element) => ({ element, text: element.textContent.toLowerCase() }));
    }
    return step.texts;
  }

  function count(text, wanted) {
    let number = 0;
    for (let from = text.indexOf(wanted); from >= 0; from = text.indexOf(wanted, from + wanted.length)) number += 1;
    return number;
  }

  // Where a text is within an element. What is interrupted by a change of colour is found, but not marked.
  function ranges(element, wanted) {
    const walker = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
    for (let node = walker.nextNode(); node && hits.length < MOST; node = walker.nextNode()) {
      const text = node.data.toLowerCase();
      if (text.length !== node.data.length) continue;
      for (let from = text.indexOf(wanted); from >= 0 && hits.length < MOST; from = text.indexOf(wanted, from + wanted.length)) {
        const range = new Range();
        range.setStart(node, from);
        range.setEnd(node, from + wanted.length);
        hits.push(range);
      }
    }
  }

  function update() {
    const wanted = search.value.trim().toLowerCase();
    const looks = chips.filter((chip) => chip.getAttribute("aria-pressed") === "true").map((chip) => chip.dataset.look);
    let shown = 0;
    let matches = 0;
    hits = [];
    at = -1;
    for (const step of steps) {
      let number = 0;
      let visible = looks.length === 0 || looks.includes(step.look);
      if (visible && wanted) {
        for (const { element, text } of texts(step)) {
          const here = count(text, wanted);
          number += here;
          if (here > 0 && highlights && hits.length < MOST) ranges(element, wanted);
        }
        visible = number > 0;
      }
      step.element.hidden = !visible;
      step.element.querySelector(".hits").textContent = visible && number > 0 ? `${number} ×` : "";
      if (visible) shown += 1;
      if (visible) matches += number;
    }
    if (highlights) {
      highlights.delete("here");
      if (hits.length > 0) highlights.set("hit", new Highlight(...hits));
      else highlights.delete("hit");
    }
    nothing.hidden = shown > 0;
    found.textContent = wanted ? `${matches} ${matches === 1 ? "match" : "matches"} in ${shown} ${shown === 1 ? "step" : "steps"}` : "";
  }

  function go(distance) {
    if (hits.length === 0) return;
    at = (at + distance + hits.length) % hits.length;
    const range = hits[at];
    range.startContainer.parentElement.closest("details").open = true;
    highlights.set("here", new Highlight(range));
    range.startContainer.parentElement.scrollIntoView({ block: "nearest" });
    const log = range.startContainer.parentElement.closest(".log");
    const place = range.getBoundingClientRect();
    if (log) log.scrollTop += place.top - log.getBoundingClientRect().top - log.clientHeight / 2;
    window.scrollBy(0, range.getBoundingClientRect().top - window.innerHeight / 2);
    found.textContent = `${at + 1} of ${hits.length}`;
  }

  function open() {
    const target = location.hash.length > 1 && document.getElementById(location.hash.slice(1));
    const step = target && target.closest("details");
    if (!step) return;
    step.hidden = false;
    step.open = true;
    const summary = step.querySelector("summary");
    summary.focus({ preventScroll: true });
    summary.scrollIntoView({ block: "start" });
  }

  let waiting = 0;
  search.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(update, 60);
  });
  search.addEventListener("keydown", (event) => {
    if (event.key === "Enter") {
      event.preventDefault();
      clearTimeout(waiting);
      if (hits.length === 0) update();
      go(event.shiftKey ? -1 : 1);
    } else if (event.key === "Escape") {
      search.value = "";
      update();
    }
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && document.activeElement !== search && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      search.focus();
      search.select();
    }
  });
  for (const chip of chips) {
    chip.addEventListener("click", () => {
      chip.setAttribute("aria-pressed", chip.getAttribute("aria-pressed") === "true" ? "false" : "true");
      update();
    });
  }
  all.addEventListener("click", () => {
    const shut = steps.some((step) => !step.element.hidden && !step.element.open);
    for (const step of steps) if (!step.element.hidden) step.element.open = shut;
    all.textContent = shut ? "close all" : "open all";
  });
  window.addEventListener("hashchange", open);
  // A link to what is open already changes no address.
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[href^='#s']");
    if (link && (link.getAttribute("href") || "") === location.hash) open();
  });
  open();
})();
