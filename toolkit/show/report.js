"use strict";
// The page is whole without this: it sorts the image table, zooms the crops and compares in place.

for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    head.querySelector("button").addEventListener("click", () => {
      // numbers start with the largest loss, names with A
      const first = column === 0 ? "ascending" : "descending";
      const other = column === 0 ? "descending" : "ascending";
      const order = head.getAttribute("aria-sort") === first ? other : first;
      heads.forEach((each) => each.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", order);
      const sign = order === "ascending" ? 1 : -1;
      const key = (row) => row.cells[column].dataset.sort;
      const value = (row) => {
        const found = Number(key(row).replace("inf", "Infinity"));
        return Number.isNaN(found) ? Infinity : found; // NaN counts as the largest loss
      };
      const compare = column === 0
        ? (a, b) => (key(a) < key(b) ? -1 : key(a) > key(b) ? 1 : 0)
        : (a, b) => (value(a) === value(b) ? 0 : value(a) < value(b) ? -1 : 1);
      const rows = [...table.tBodies[0].rows].sort((a, b) => sign * compare(a, b));
      table.tBodies[0].append(...rows);
    });
  });
}

const section = document.querySelector("#crops");
if (section) {
  const buttons = [...section.querySelectorAll("[data-zoom]")];
  const crops = [...section.querySelectorAll(".crop")];
  let chosen = "fit";

  // the largest whole factor at which four crops, or two on a narrow screen, stand in a row
  const fitting = (crop) => {
    const room = crop.querySelector(".panels").clientWidth;
    const side = Number(crop.style.getPropertyValue("--w"));
    const inRow = room < 640 ? 2 : 4;
    return Math.max(1, Math.floor((room - 12 * (inRow - 1)) / inRow / side));
  };
  const apply = () => {
    for (const crop of crops) {
      crop.style.setProperty("--zoom", chosen === "fit" ? fitting(crop) : chosen);
    }
    for (const button of buttons) {
      button.setAttribute("aria-pressed", String(button.dataset.zoom === chosen));
    }
  };
  for (const button of buttons) {
    button.addEventListener("click", () => {
      chosen = button.dataset.zoom;
      apply();
    });
  }
  window.addEventListener("resize", apply);
  section.querySelector(".zoom").hidden = false;
  apply();

  for (const crop of crops) {
    const panel = crop.querySelector(".panel.file");
    const picture = panel.querySelector(".picture");
    const image = picture.querySelector("img");
    const caption = panel.querySelector("p");
    const own = [image.src, caption.textContent];
    const rival = [crop.querySelector(".panel.float img").src, "float network"];
    const show = ([address, words]) => {
      image.src = address;
      caption.textContent = words;
      panel.classList.toggle("swapped", address === rival[0]);
    };
    picture.addEventListener("pointerdown", () => show(rival));
    for (const end of ["pointerup", "pointerleave", "pointercancel", "blur", "keyup"]) {
      picture.addEventListener(end, () => show(own));
    }
    picture.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === " ") {
        event.preventDefault();
        show(rival);
      }
    });
    picture.addEventListener("contextmenu", (event) => event.preventDefault());
  }
}
