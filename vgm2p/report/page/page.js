"use strict";
(() => {
  const charts = JSON.parse(document.getElementById("data").textContent);
  const hidden = new Set();
  const tip = document.getElementById("tip");
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];

  // tables: a click on a title sorts by its column; lines without a value come last
  const value = (row, column, number) => {
    const cell = row.cells[column];
    const text = cell.dataset.value;
    return number ? (text === undefined ? null : Number(text)) : (text ?? cell.textContent);
  };
  const sort = (head) => {
    const row = head.parentElement, body = row.closest("table").tBodies[0];
    const column = [...row.cells].indexOf(head), number = head.dataset.kind === "number";
    const before = head.getAttribute("aria-sort");
    const down = before === "none" ? number : before === "ascending";
    for (const other of row.cells) if (other.hasAttribute("aria-sort")) other.setAttribute("aria-sort", "none");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const order = (first, second) => {
      const [a, b] = [value(first, column, number), value(second, column, number)];
      if (a === null || b === null) return (a === null) - (b === null);
      return (number ? a - b : a.localeCompare(b, "en", { numeric: true })) * (down ? -1 : 1);
    };
    body.append(...[...body.rows].sort(order));
  };
  for (const button of all("table.sortable thead button")) {
    button.addEventListener("click", () => sort(button.closest("th")));
  }

  // differences: the method that the others are compared with
  for (const choice of all("[data-bases]")) {
    const rows = all("tr[data-base]", choice.closest(".block"));
    choice.addEventListener("change", () => {
      for (const row of rows) row.hidden = row.dataset.base !== choice.value;
    });
  }

  // legend: shows and hides methods and single seeds, and lifts the lines of one method
  for (const button of all("[data-toggle]")) {
    const method = Number(button.dataset.toggle);
    const lines = all(`.lines g[data-m="${method}"]`);
    const lift = (on) => {
      document.body.classList.toggle("focus", on && !hidden.has(method));
      for (const line of lines) line.classList.toggle("on", on);
    };
    button.addEventListener("click", () => {
      const off = !hidden.delete(method);
      if (off) hidden.add(method);
      button.setAttribute("aria-pressed", String(!off));
      for (const line of lines) line.toggleAttribute("hidden", off);
      lift(!off && button.matches(":hover"));
    });
    button.addEventListener("pointerenter", (event) => { if (event.pointerType === "mouse") lift(true); });
    button.addEventListener("pointerleave", () => lift(false));
  }
  for (const button of all("[data-seeds]")) {
    button.addEventListener("click", () => {
      const off = document.body.classList.toggle("no-seeds");
      button.setAttribute("aria-pressed", String(!off));
    });
  }

  // charts: the values at one update, by pointer or arrow keys
  const number = (x) => (Math.abs(x) >= 1e5 || (x !== 0 && Math.abs(x) < 1e-3) ? x.toExponential(2) : String(Number(x.toPrecision(4))));
  const cursor = document.createElement("div");
  cursor.className = "cursor";
  let shown = null;
  const close = () => { shown = null; tip.hidden = true; cursor.remove(); };
  const updates = (chart) => {
    const found = new Set();
    for (const line of chart.lines) if (!hidden.has(line.m)) for (const x of line.x) found.add(x);
    return [...found].sort((a, b) => a - b);
  };
  const cell = (text) => { const made = document.createElement("td"); made.append(text); return made; };
  const show = (plot, update) => {
    const chart = charts[plot.dataset.chart], rows = [];
    for (const line of chart.lines) {
      const at = line.x.indexOf(update);
      if (at < 0 || line.y[at] === null || hidden.has(line.m)) continue;
      const row = document.createElement("tr"), name = cell(line.n);
      name.prepend(document.querySelector(`[data-toggle="${line.m}"] svg`).cloneNode(true));
      row.append(name, cell(number(line.y[at])), cell(line.l && line.l[at] !== null ? `[${number(line.l[at])}, ${number(line.h[at])}]` : ""));
      rows.push([line.y[at], row]);
    }
    if (!rows.length) return close();
    rows.sort((a, b) => b[0] - a[0]);
    const title = document.createElement("b"), table = document.createElement("table"), most = 16;
    title.textContent = `update ${update}`;
    table.append(...rows.slice(0, most).map((each) => each[1]));
    tip.replaceChildren(title, table);
    if (rows.length > most) tip.append(`and ${rows.length - most} more`);
    tip.hidden = false;
    shown = [plot, update];
    plot.append(cursor);
    cursor.style.left = `${(100 * update) / chart.x}%`;
    const box = plot.getBoundingClientRect(), at = box.left + (box.width * update) / chart.x;
    const width = tip.offsetWidth, height = tip.offsetHeight;
    const left = at + 14 + width > innerWidth ? at - 14 - width : at + 14;
    const below = box.bottom + 30 + height < innerHeight ? box.bottom + 30 : box.top - height - 8;
    const top = innerWidth < 640 ? below : box.top + 8;
    tip.style.left = `${Math.max(6, Math.min(left, innerWidth - width - 6))}px`;
    tip.style.top = `${Math.max(6, Math.min(top, innerHeight - height - 6))}px`;
  };
  for (const plot of all(".plot")) {
    const chart = charts[plot.dataset.chart];
    const point = (event) => {
      const box = plot.getBoundingClientRect();
      const wanted = (chart.x * (event.clientX - box.left)) / box.width;
      const near = updates(chart).reduce((a, b) => (Math.abs(b - wanted) < Math.abs(a - wanted) ? b : a), Infinity);
      if (Number.isFinite(near)) show(plot, near);
    };
    plot.addEventListener("pointermove", point);
    plot.addEventListener("pointerdown", point);
    plot.addEventListener("pointerleave", close);
    plot.addEventListener("blur", close);
    plot.addEventListener("keydown", (event) => {
      const known = updates(chart);
      const last = known.length - 1, at = shown && shown[0] === plot ? known.indexOf(shown[1]) : -1;
      const to = { ArrowRight: at + 1, ArrowLeft: at < 0 ? last : at - 1, Home: 0, End: last }[event.key];
      if (event.key === "Escape") return close();
      if (to === undefined || last < 0) return;
      event.preventDefault();
      show(plot, known[Math.max(0, Math.min(to, last))]);
    });
  }
  addEventListener("scroll", () => { if (shown && !shown[0].matches(":focus-visible")) close(); }, { passive: true });

  // commands
  for (const button of all("[data-copy]")) {
    button.addEventListener("click", async () => {
      const code = button.parentElement.querySelector("code");
      try {
        await navigator.clipboard.writeText(code.textContent);
        button.textContent = "Copied";
        setTimeout(() => { button.textContent = "Copy"; }, 1500);
      } catch {
        getSelection().selectAllChildren(code);
      }
    });
  }
})();
