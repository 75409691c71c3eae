"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const data = JSON.parse($("data").textContent);
  // A finding names its targets folded: compute[001-412] is to be found by compute017, too.
  const targetsOf = new Map(data.anchors.map(([anchor, , targets]) => [anchor, targets.map((t) => data.targets[t]).join(" ")]));

  // ---- findings: filter, and keep the filter in the address

  const findings = [...document.querySelectorAll(".finding")].map((element) => ({
    element, text: `${element.textContent} ${targetsOf.get(element.id) || ""}`.toLowerCase(), ...element.dataset,
  }));
  const form = $("filter");
  const fields = ["q", "severity", "area"];

  function filter() {
    const words = $("q").value.toLowerCase().split(/\s+/).filter(Boolean);
    const severity = $("severity").value, area = $("area").value;
    let shown = 0;
    for (const it of findings) {
      const fits = (!severity || it.severity === severity) && (!area || it.area === area) &&
        words.every((word) => it.text.includes(word));
      it.element.hidden = !fits;
      shown += fits;
    }
    if (words.length || severity || area) for (const it of document.querySelectorAll(".reason details, .ones")) it.open = true;
    for (const section of document.querySelectorAll(".outcome, .reason")) {
      section.hidden = !section.querySelector(".finding:not([hidden])");
    }
    $("matches").textContent = shown === findings.length ? `${shown} shown` : `${shown} of ${findings.length} shown`;
  }

  function remember() {
    const told = fields.filter((id) => $(id).value).map((id) => `${id}=${encodeURIComponent($(id).value)}`);
    history.replaceState(null, "", told.length ? `#find?${told.join("&")}` : "#findings");
  }

  function clear() {
    for (const id of fields) $(id).value = "";
    filter();
  }

  function follow() {
    if (form && location.hash.startsWith("#find?")) {
      const told = new URLSearchParams(location.hash.slice(6));
      for (const id of fields) $(id).value = told.get(id) || "";
      filter();
      $("findings").scrollIntoView();
      return;
    }
    const element = document.querySelector(":target");
    if (!element) return;
    if (element.hidden || element.closest("[hidden]")) clear();
    for (let it = element.closest("details"); it; it = it.parentElement.closest("details")) it.open = true;
    element.scrollIntoView();
    if (element.classList.contains("panel")) element.focus({ preventScroll: true });
  }

  if (form) {
    form.hidden = false;
    form.addEventListener("input", () => { filter(); remember(); });
    form.addEventListener("submit", (event) => event.preventDefault());
    document.addEventListener("keydown", (event) => {
      const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName);
      if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey) { event.preventDefault(); $("q").focus(); }
    });
    filter();
  }
  addEventListener("hashchange", follow);

  // what is folded is printed all the same
  let folded = [];
  addEventListener("beforeprint", () => {
    folded = [...document.querySelectorAll("details:not([open])")];
    for (const it of folded) it.open = true;
  });
  addEventListener("afterprint", () => {
    for (const it of folded) it.open = false;
  });

  // ---- the matrix: only what is in sight is in the document

  const SIZE = 22, HEAD = 150, BAD = /[FNO]/;
  const grid = $("grid"), inner = document.createElement("div");
  const glyphs = { P: "·", "-": "–" };
  const anchors = new Map();
  for (const [anchor, check, targets] of data.anchors) {
    for (const target of targets) anchors.set(`${check} ${target}`, anchor);
  }
  let rows = [], columns = [], at = { row: 0, column: 0 }, drawn = "";
  inner.className = "inner";
  inner.setAttribute("role", "presentation");
  grid.append(inner);

  function choose() {
    const check = $("grid-check").value.toLowerCase(), target = $("grid-target").value.toLowerCase();
    const kind = $("grid-kind").value, bad = $("grid-bad").checked;
    const named = data.targets.map((name) => !target || name.toLowerCase().includes(target));
    rows = data.checks.filter((it) => (!kind || it.kind === kind) && (!bad || BAD.test(it.cells)) &&
      (!check || it.id.toLowerCase().includes(check) || it.title.toLowerCase().includes(check)));
    const asked = new Uint8Array(data.targets.length);
    for (const it of rows) {
      for (let n = 0; n < asked.length; n++) {
        const code = it.cells[n];
        if (!asked[n] && code !== "." && named[n] && (!bad || code === "F" || code === "N" || code === "O")) asked[n] = 1;
      }
    }
    columns = [...asked.keys()].filter((n) => asked[n]);
    at = { row: 0, column: 0 };
    grid.scrollTo(0, 0);
    grid.setAttribute("aria-rowcount", rows.length + 1);
    grid.setAttribute("aria-colcount", columns.length + 1);
    grid.style.height = `${Math.min(innerHeight * 0.75, HEAD + Math.max(rows.length, 1) * SIZE + 20)}px`;
    drawn = "";
    draw();
    $("grid-said").textContent = `${rows.length} of ${data.checks.length} checks, ${columns.length} of ${data.targets.length} targets`;
  }

  function piece(kind, text, x, y, role) {
    const element = document.createElement("div");
    element.className = kind;
    element.textContent = text;
    element.setAttribute("role", role);
    element.style.left = `${x}px`;
    element.style.top = `${y}px`;
    return element;
  }

  const side = () => (innerWidth <= 640 ? 150 : 280);
  const range = (from, count, all) => [Math.max(0, Math.floor(from / SIZE) - 2), Math.min(all, Math.ceil((from + count) / SIZE) + 2)];

  function draw() {
    const left = grid.scrollLeft, top = grid.scrollTop, wide = side();
    const [r0, r1] = range(top, grid.clientHeight - HEAD, rows.length);
    const [c0, c1] = range(left, grid.clientWidth - wide, columns.length);
    const key = [left, top, r0, r1, c0, c1, at.row, at.column, wide].join();
    if (key === drawn) return;
    drawn = key;
    inner.style.width = `${wide + columns.length * SIZE}px`;
    inner.style.height = `${HEAD + rows.length * SIZE}px`;
    const made = [];
    const head = piece("head", "", 0, 0, "row");
    head.setAttribute("aria-rowindex", 1);
    for (let c = c0; c < c1; c++) {
      const name = piece("column-name", data.targets[columns[c]], wide + c * SIZE, top, "columnheader");
      name.title = name.textContent;
      head.append(name);
    }
    made.push(head);
    for (let r = r0; r < r1; r++) {
      const it = rows[r], row = piece("row", "", 0, 0, "row");
      row.setAttribute("aria-rowindex", r + 2);
      for (let c = c0; c < c1; c++) {
        const code = it.cells[columns[c]];
        if (code === ".") continue;
        const cell = piece(`cell ${code === "-" ? "A" : code}`, glyphs[code] || code, wide + c * SIZE, HEAD + r * SIZE, "gridcell");
        cell.title = told(r, c);
        cell.setAttribute("aria-label", told(r, c));
        cell.setAttribute("aria-colindex", c + 2);
        cell.dataset.row = r;
        cell.dataset.column = c;
        const anchor = anchors.get(`${it.id} ${columns[c]}`);
        if (anchor) cell.dataset.anchor = anchor;
        if (r === at.row && c === at.column) { cell.classList.add("now"); cell.id = "grid-now"; }
        row.append(cell);
      }
      const name = piece("row-name", it.id, left, HEAD + r * SIZE, "rowheader");
      name.title = `${it.id}: ${it.title}`;
      row.append(name);
      made.push(row);
    }
    made.push(piece("corner", "", left, top, "presentation"));
    inner.replaceChildren(...made);
    if ($("grid-now")) grid.setAttribute("aria-activedescendant", "grid-now");
    else grid.removeAttribute("aria-activedescendant");
  }

  function told(r, c) {
    return `${rows[r].id} on ${data.targets[columns[c]]}: ${data.codes[rows[r].cells[columns[c]]] || "not asked"}`;
  }

  function open(row, column) {
    const anchor = rows[row] && anchors.get(`${rows[row].id} ${columns[column]}`);
    if (anchor) location.hash = anchor;
  }

  const steps = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1], PageUp: [-20, 0], PageDown: [20, 0], Home: [0, -1e6], End: [0, 1e6] };
  grid.addEventListener("keydown", (event) => {
    if (event.key === "Enter") return open(at.row, at.column);
    const step = steps[event.key];
    if (!step || !rows.length || !columns.length) return;
    event.preventDefault();
    at.row = Math.min(rows.length - 1, Math.max(0, at.row + step[0]));
    at.column = Math.min(columns.length - 1, Math.max(0, at.column + step[1]));
    const x = at.column * SIZE, y = at.row * SIZE, wide = grid.clientWidth - side(), high = grid.clientHeight - HEAD;
    if (x < grid.scrollLeft) grid.scrollLeft = x;
    if (x + SIZE > grid.scrollLeft + wide) grid.scrollLeft = x + SIZE - wide;
    if (y < grid.scrollTop) grid.scrollTop = y;
    if (y + SIZE > grid.scrollTop + high) grid.scrollTop = y + SIZE - high;
    draw();
    $("grid-said").textContent = told(at.row, at.column);
  });
  grid.addEventListener("click", (event) => {
    const cell = event.target.closest(".cell");
    if (!cell) return;
    at = { row: +cell.dataset.row, column: +cell.dataset.column };
    draw();
    $("grid-said").textContent = told(at.row, at.column);
    open(at.row, at.column);
  });
  grid.addEventListener("scroll", () => requestAnimationFrame(draw), { passive: true });
  addEventListener("resize", draw);

  const kinds = [...new Set(data.checks.map((it) => it.kind))].sort();
  $("grid-kind").append(new Option("anything", ""), ...kinds.map((kind) => new Option(kind, kind)));
  $("grid-bad").checked = data.checks.some((it) => BAD.test(it.cells));
  $("grid-filter").hidden = grid.hidden = false;
  $("grid-filter").addEventListener("input", choose);
  $("grid-filter").addEventListener("submit", (event) => event.preventDefault());
  choose();
  follow();
  document.documentElement.dataset.ready = "yes";
})();
