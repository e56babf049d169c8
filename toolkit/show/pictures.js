// The table of pictures: another file or stage on demand, a search, one picture in every stage.

const store = document.querySelector("#data");
if (store) {
  const { names, opened, stages } = JSON.parse(store.textContent);
  const table = document.querySelector("#table");
  const body = table.tBodies[0];
  const chooser = document.querySelector("#stage");
  const find = document.querySelector("#find");
  const found = document.querySelector("#found");
  const [DROP, , , , , LARGEST, WITHIN] = [0, 1, 2, 3, 4, 5, 6];
  const DIGITS = [3, 3, 3, 4, 4, 0, 2, 2];

  // the same texts as in the page itself: no -0.000, and no share is rounded up
  const text = (value, column) => {
    if (typeof value === "string") return value === "nan" ? "NaN" : value;
    if (column === WITHIN) {
      return value === 10000 ? "100 %" : `${(value / 100).toFixed(2)} %`;
    }
    const digits = value.toFixed(DIGITS[column]);
    return Number(digits) === 0 ? digits.replace("-", "") : digits;
  };
  const made = (tag, words, classes) => {
    const element = document.createElement(tag);
    if (words !== undefined) element.textContent = words;
    if (classes) element.className = classes;
    return element;
  };
  const title = (stage) => `${stage.file}, ${stage.name}`;

  const nameCell = (name) => {
    const cell = made("th");
    cell.scope = "row";
    cell.dataset.sort = name;
    const who = made("div", undefined, "who");
    const button = made("button", name);
    button.type = "button";
    button.setAttribute("aria-expanded", "false");
    who.append(button);
    cell.append(who);
    return cell;
  };
  const rowOf = (name, values) => {
    const row = made("tr");
    row.append(nameCell(name));
    values.forEach((value, column) => {
      const cell = made("td", text(value, column), column === DROP ? "n strong" : "n");
      cell.dataset.sort = value;
      if (value === "nan") cell.classList.add("bad");
      row.append(cell);
    });
    return row;
  };
  const show = (stage) => {
    const value = (row) => {
      const drop = Number(String(row[1][DROP]).replace("inf", "Infinity"));
      return Number.isNaN(drop) ? Infinity : drop;
    };
    const rows = stage.rows.map((values, i) => [names[stage.at[i]], values]);
    rows.sort((a, b) => value(b) - value(a) || (a[0] < b[0] ? -1 : 1));
    body.replaceChildren(...rows.map(([name, values]) => rowOf(name, values)));
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head) => head.removeAttribute("aria-sort"));
    heads[1].setAttribute("aria-sort", "descending");
    document.querySelector("#shown").textContent = `${title(stage)}: against ${stage.against}.`;
    filter();
  };
  const filter = () => {
    const wanted = find.value.trim().toLowerCase();
    let count = 0;
    for (const row of body.rows) {
      if (row.classList.contains("detail")) continue;
      row.hidden = !row.cells[0].dataset.sort.toLowerCase().includes(wanted);
      row.classList.toggle("later", false);
      count += row.hidden ? 0 : 1;
    }
    for (const row of body.querySelectorAll("tr.detail")) row.hidden = row.previousSibling.hidden;
    found.textContent = wanted ? `${count} of ${body.rows.length}` : "";
  };

  // one picture through every file and stage, made when it is asked for
  const detail = (name) => {
    const row = made("tr", undefined, "detail");
    const cell = made("td");
    cell.colSpan = table.tHead.rows[0].cells.length;
    const inner = made("table");
    const head = inner.createTHead().insertRow();
    for (const words of ["File, stage", "Drop, dB", "PSNR, dB", "Largest error", "Within ±1"]) {
      head.append(made("th", words, head.cells.length ? "n" : ""));
    }
    const rows = inner.createTBody();
    for (const stage of stages) {
      const at = stage.at.indexOf(names.indexOf(name));
      if (at < 0) continue;
      const line = rows.insertRow();
      line.append(made("td", title(stage)));
      for (const column of [DROP, 1, LARGEST, WITHIN]) {
        line.append(made("td", text(stage.rows[at][column], column), "n"));
      }
    }
    cell.append(inner);
    row.append(cell);
    return row;
  };
  body.addEventListener("click", (event) => {
    const button = event.target.closest(".who button");
    if (!button) return;
    const row = button.closest("tr");
    const opening = button.getAttribute("aria-expanded") === "false";
    button.setAttribute("aria-expanded", String(opening));
    if (opening) row.after(detail(row.cells[0].dataset.sort));
    else row.nextSibling.remove();
  });

  for (const [index, stage] of stages.entries()) {
    const option = made("option", title(stage));
    option.value = String(index);
    chooser.append(option);
  }
  chooser.value = String(opened);
  chooser.addEventListener("change", () => show(stages[Number(chooser.value)]));
  find.addEventListener("input", filter);
  for (const row of body.rows) row.cells[0].replaceWith(nameCell(row.cells[0].dataset.sort));
  document.querySelector("#pictures .tools").hidden = false;
}
