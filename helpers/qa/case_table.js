// A table: a click on a header sorts, a click on a row chooses it; that of the cases sends keys to the kernel.
// All text is set as text, never as HTML, because case ids and notes come from files and readers.

const NATURAL_ORDER = new Intl.Collator(undefined, { numeric: true });

function compare(a, b) {
  if (a === b) return 0;
  if (a === null || a === "") return 1; // unknown values come last in either direction
  if (b === null || b === "") return -1;
  return typeof a === "number" && typeof b === "number" ? a - b : NATURAL_ORDER.compare(String(a), String(b));
}

function order(rows, sort) {
  if (!sort.column) return rows;
  const sign = sort.descending ? -1 : 1;
  const known = (row) => row.cells[sort.column] !== null && row.cells[sort.column] !== "";
  const both = (a, b) => compare(a.cells[sort.column], b.cells[sort.column]) * (known(a) && known(b) ? sign : 1);
  return [...rows].sort(both);
}

function cell(value, column, row) {
  const td = document.createElement("td");
  td.textContent = typeof value === "number" && column.digits !== undefined ? value.toFixed(column.digits) : value ?? "–";
  if (column.digits !== undefined) td.className = "number";
  if (row.tips[column.name]) td.title = row.tips[column.name];
  if (["verdict", "lesion"].includes(column.name) && value) td.classList.add(value);
  return td;
}

function draw(model, table) {
  const sort = model.get("sort");
  const columns = model.get("columns");
  const head = document.createElement("tr");
  for (const column of columns) {
    const th = document.createElement("th");
    const arrow = sort.column === column.name ? (sort.descending ? " ▼" : " ▲") : "";
    th.textContent = column.name + arrow;
    th.title = "click to sort";
    th.onclick = () => {
      const descending = sort.column === column.name && !sort.descending;
      model.set("sort", { column: column.name, descending });
      model.save_changes();
    };
    head.append(th);
  }
  const body = order(model.get("rows"), sort).map((row) => {
    const tr = document.createElement("tr");
    tr.dataset.case = row.id;
    tr.classList.toggle("chosen", row.id === model.get("chosen"));
    tr.append(...columns.map((column) => cell(row.cells[column.name], column, row)));
    tr.onclick = () => choose(model, row.id);
    return tr;
  });
  table.tHead.replaceChildren(head);
  table.tBodies[0].replaceChildren(...body);
  table.querySelector("tr.chosen")?.scrollIntoView({ block: "nearest" });
}

function choose(model, id) {
  model.set("chosen", id);
  model.save_changes();
}

function move(model, by) {
  const ids = order(model.get("rows"), model.get("sort")).map((row) => row.id);
  const at = ids.indexOf(model.get("chosen")) + by;
  if (at >= 0 && at < ids.length) choose(model, ids[at]);
}

function nextUnreviewed(model) {
  const rows = order(model.get("rows"), model.get("sort"));
  const after = rows.findIndex((row) => row.id === model.get("chosen")) + 1;
  const next = [...rows.slice(after), ...rows.slice(0, after)].find((row) => !row.cells.verdict);
  if (next) choose(model, next.id);
}

function onKey(model, event) {
  const typing = ["INPUT", "TEXTAREA", "SELECT"].includes(event.target.tagName) && event.target.type !== "checkbox";
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (typing) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  if (event.key === "j" || event.key === "k") move(model, event.key === "j" ? 1 : -1);
  else if (event.key === "n") nextUnreviewed(model);
  else if (model.get("forwarded_keys").includes(event.key)) model.send({ key: event.key });
  else return;
  event.preventDefault();
  event.stopPropagation();
}

function render({ model, el }) {
  el.classList.add("cookbook-cases");
  const table = document.createElement("table");
  table.createTHead();
  table.createTBody();
  el.append(table);
  const redraw = () => draw(model, table);
  for (const name of ["rows", "columns", "sort", "chosen"]) model.on(`change:${name}`, redraw);
  redraw();
  let desk = null;
  const listen = (event) => onKey(model, event);
  const obey = (message) => message.do === "next unreviewed" && nextUnreviewed(model);
  model.on("msg:custom", obey);
  const attach = () => {
    if (!model.get("has_keys")) return;
    desk = el.closest(".cookbook-desk");
    if (!desk) return requestAnimationFrame(attach);
    desk.tabIndex = 0; // so that a click anywhere on the desk gives it the keyboard focus
    desk.setAttribute("data-lm-suppress-shortcuts", "true"); // otherwise "a" would insert a cell in JupyterLab
    desk.addEventListener("keydown", listen);
  };
  let frame = requestAnimationFrame(attach);
  return () => {
    cancelAnimationFrame(frame);
    model.off("msg:custom", obey);
    desk?.removeEventListener("keydown", listen);
    for (const name of ["rows", "columns", "sort", "chosen"]) model.off(`change:${name}`, redraw);
  };
}

export default { render };
