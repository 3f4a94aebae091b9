"use strict";
// Sorts and filters the page's tables. A page that runs it names its digest in its policy, and runs nothing else.
const FIRST_NUMBER = /[-+]?\d[\d,]*(?:\.\d+)?/;

const worth = (row, column) => {
  const text = row.cells[column] ? row.cells[column].innerText.trim() : "";
  const found = text.match(FIRST_NUMBER);
  return { text, number: found ? Number(found[0].replaceAll(",", "")) : NaN };
};

const compare = (a, b, isName, sign) => {
  if (!isName && Number.isNaN(a.number) !== Number.isNaN(b.number)) return Number.isNaN(a.number) ? 1 : -1;
  if (!isName && !Number.isNaN(a.number)) return sign * (a.number - b.number);
  return sign * a.text.localeCompare(b.text);
};

for (const table of document.querySelectorAll(".scroll > table")) {
  const heads = [...table.tHead.rows[table.tHead.rows.length - 1].cells];
  const rowsOf = (body) => [...body.rows].filter((row) => !row.querySelector("th[scope=rowgroup]"));
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    button.title = "Sort by this column";
    head.append(button);
    button.addEventListener("click", () => {
      const falls = column > 0 && head.ariaSort !== "descending" ? true : column === 0 && head.ariaSort === "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", falls ? "descending" : "ascending");
      for (const body of table.tBodies) {
        const rows = rowsOf(body).map((row) => [row, worth(row, column)]);
        rows.sort(([, a], [, b]) => compare(a, b, column === 0, falls ? -1 : 1));
        body.append(...rows.map(([row]) => row));
      }
    });
  });
  const rows = [...table.tBodies].flatMap(rowsOf);
  if (rows.length < 5) continue;
  const label = document.createElement("label");
  label.className = "find";
  label.textContent = "Rows with ";
  const input = document.createElement("input");
  input.type = "search";
  label.append(input);
  table.parentElement.before(label);
  input.addEventListener("input", () => {
    const wanted = input.value.trim().toLowerCase();
    for (const row of rows) row.hidden = !row.textContent.toLowerCase().includes(wanted);
  });
}
