"use strict";

// Sorting: every header that names a column becomes a button. Rows without a value stay last; ties keep their order.
function sortBy(table, header) {
  const column = Number(header.dataset.column), isNumber = header.dataset.kind === "number";
  const before = header.getAttribute("aria-sort");
  const descending = before === null ? isNumber : before === "ascending";
  for (const other of table.tHead.querySelectorAll("[aria-sort]")) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", descending ? "descending" : "ascending");
  const keyed = Array.from(table.tBodies[0].rows, (row) => ({ row, key: row.cells[column]?.dataset.value ?? "" }));
  const compare = isNumber ? (a, b) => a - b : (a, b) => a.localeCompare(b, "en", { numeric: true });
  keyed.sort((a, b) => {
    if (a.key === "" || b.key === "") return (a.key === "") - (b.key === "");
    return descending ? compare(b.key, a.key) : compare(a.key, b.key);
  });
  table.tBodies[0].append(...keyed.map(({ row }) => row));
}

for (const table of document.querySelectorAll("table.sortable")) {
  if (table.tBodies[0].rows.length < 2) continue;
  for (const header of table.tHead.querySelectorAll("[data-column]")) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...header.childNodes);
    button.addEventListener("click", () => sortBy(table, header));
    header.append(button);
  }
}
