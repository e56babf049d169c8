"use strict";
// Tables sort by a click on a heading, or by Enter on it: the cells say their value in `data-sort`.

document.addEventListener("click", (event) => {
  const head = event.target.closest?.("table.sortable thead th");
  if (!head || !event.target.closest("button")) return;
  const heads = [...head.parentElement.cells];
  const column = heads.indexOf(head);
  const names = column === 0;
  // names start with A, numbers with the largest loss; a column may say otherwise
  const first = head.dataset.first ?? (names ? "ascending" : "descending");
  const other = first === "ascending" ? "descending" : "ascending";
  const order = head.getAttribute("aria-sort") === first ? other : first;
  heads.forEach((each) => each.removeAttribute("aria-sort"));
  head.setAttribute("aria-sort", order);

  const sign = order === "ascending" ? 1 : -1;
  const key = (row) => row.cells[column].dataset.sort;
  const missing = first === "ascending" ? -Infinity : Infinity; // NaN is the worst there is
  const value = (row) => {
    const found = Number(key(row).replace("inf", "Infinity"));
    return Number.isNaN(found) ? missing : found;
  };
  const compare = names
    ? (a, b) => (key(a) < key(b) ? -1 : key(a) > key(b) ? 1 : 0)
    : (a, b) => (value(a) === value(b) ? 0 : value(a) < value(b) ? -1 : 1);
  const body = head.closest("table").tBodies[0];
  for (const detail of body.querySelectorAll("tr.detail")) detail.remove();
  for (const open of body.querySelectorAll('[aria-expanded="true"]')) {
    open.setAttribute("aria-expanded", "false");
  }
  body.append(...[...body.rows].sort((a, b) => sign * compare(a, b)));
});
