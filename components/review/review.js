"use strict";
// Shows one item at a time, keeps the labels in the browser until they are saved as a file. Texts of models are in the
// page already, escaped; nothing here writes markup.
(() => {
  const page = document.body;
  const items = [...document.querySelectorAll("article")];
  const status = document.getElementById("status");
  const labeller = document.getElementById("labeller");
  const place = `srlm-review/${page.dataset.run}/${page.dataset.model}/${page.dataset.digest}`;
  const kept = { labeller: "", labels: {}, seen: [], at: 0, ...stored() };

  function stored() {
    try {
      return JSON.parse(localStorage.getItem(place)) ?? {};
    } catch {
      return {};
    }
  }

  function keep() {
    try {
      localStorage.setItem(place, JSON.stringify(kept));
    } catch {
      say("This browser keeps nothing: save the labels before you leave the page.");
    }
  }

  function say(text) {
    status.textContent = text;
  }

  function told() {
    const done = items.filter((item) => item.id in kept.labels).length;
    document.getElementById("bar").value = done;
    document.getElementById("done").textContent = `${done} of ${items.length} labelled`;
  }

  // The judge's words show once there is a label; once they are open the label stays as it is.
  function refresh(item) {
    const known = item.id in kept.labels;
    const seen = kept.seen.includes(item.id);
    for (const input of item.querySelectorAll("input")) {
      input.checked = known && input.value === String(kept.labels[item.id]);
      input.disabled = seen;
    }
    item.querySelector("details").hidden = !known;
  }

  function show(number, focus) {
    kept.at = Math.min(Math.max(number, 0), items.length - 1);
    items.forEach((item, place) => {
      item.hidden = place !== kept.at;
    });
    document.getElementById("previous").disabled = kept.at === 0;
    document.getElementById("next").disabled = kept.at === items.length - 1;
    keep();
    if (focus) {
      items[kept.at].focus({ preventScroll: true });
      items[kept.at].scrollIntoView();
    }
  }

  function save() {
    kept.labeller = labeller.value.trim();
    if (!kept.labeller) {
      say("Say who labels: your name goes into the file.");
      labeller.focus();
      return;
    }
    keep();
    const labels = items
      .filter((item) => item.id in kept.labels)
      .map((item) => ({ item: item.id.slice("item-".length), label: kept.labels[item.id] }));
    const { format, run, model } = page.dataset;
    const text = JSON.stringify({ format, run, model, labeller: kept.labeller, labels }, null, 1);
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
    link.download = `labels-${run}-${model}-${kept.labeller.replace(/[^\p{L}\p{N}]+/gu, "-")}.json`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
    say(`${labels.length} labels saved as ${link.download}`);
  }

  for (const item of items) {
    item.addEventListener("change", (event) => {
      const { value } = event.target;
      kept.labels[item.id] = item.dataset.kind === "score" ? Number(value) : value;
      keep();
      refresh(item);
      told();
    });
    item.querySelector("details").addEventListener("toggle", (event) => {
      if (event.target.open && !kept.seen.includes(item.id)) {
        kept.seen.push(item.id);
        keep();
        refresh(item);
      }
    });
    refresh(item);
  }

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || event.target === labeller) return;
    const input = [...items[kept.at].querySelectorAll("input")].find((one) => one.dataset.key === event.key);
    if (input && !input.disabled) input.click();
    else if (event.key === "n") show(kept.at + 1, true);
    else if (event.key === "p") show(kept.at - 1, true);
    else return;
    event.preventDefault();
  });
  document.getElementById("previous").addEventListener("click", () => show(kept.at - 1, true));
  document.getElementById("next").addEventListener("click", () => show(kept.at + 1, true));
  document.getElementById("save").addEventListener("click", save);
  labeller.value = kept.labeller;
  labeller.addEventListener("change", () => {
    kept.labeller = labeller.value.trim();
    keep();
  });
  told();
  show(kept.at, false);
})();
