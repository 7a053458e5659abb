// Button for light and dark, tables that are sorted by a click on a header, colours of paper while the page is printed.
"use strict";
(() => {
  const root = document.documentElement;
  const button = document.querySelector(".theme");
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches);
  const setTheme = (theme) => {
    if (theme) root.dataset.theme = theme;
    else delete root.dataset.theme;
  };
  button.hidden = false;
  button.addEventListener("click", () => {
    setTheme(isDark() ? "light" : "dark");
    dispatchEvent(new Event("themechange"));
  });
  let before;
  addEventListener("beforeprint", () => {
    before = root.dataset.theme;
    setTheme("light");
  });
  addEventListener("afterprint", () => setTheme(before));

  const compare = (a, b) => {
    const numbers = [a, b].map((cell) => (cell.dataset.value === undefined ? NaN : Number(cell.dataset.value)));
    if (numbers.some(Number.isNaN)) return a.textContent.localeCompare(b.textContent, undefined, { numeric: true });
    return numbers[0] - numbers[1];
  };
  const sort = (header) => {
    const table = header.closest("table");
    const direction = header.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending";
    table.querySelectorAll("th[aria-sort]").forEach((each) => each.removeAttribute("aria-sort"));
    header.setAttribute("aria-sort", direction);
    const sign = direction === "ascending" ? 1 : -1;
    const rows = [...table.tBodies[0].rows];
    rows.sort((a, b) => sign * compare(a.cells[header.cellIndex], b.cells[header.cellIndex]));
    table.tBodies[0].append(...rows);
  };
  document.querySelectorAll("table.sortable thead th").forEach((header) => {
    const name = document.createElement("button");
    name.type = "button";
    name.append(...header.childNodes);
    name.addEventListener("click", () => sort(header));
    header.append(name);
  });
})();
