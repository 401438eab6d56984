// The report's script. Without it the page is complete; it adds what a page on paper cannot do: a
// switch of colours, hiding a subject, sorting, larger hints, and the data as a file.

enum ReportScript {
  static let text = """
    "use strict";
    (() => {
      const root = document.documentElement;
      const all = (selector, within = document) => Array.from(within.querySelectorAll(selector));

      const theme = document.getElementById("theme");
      const isDark = () => root.dataset.theme
        ? root.dataset.theme === "dark"
        : matchMedia("(prefers-color-scheme: dark)").matches;
      theme.hidden = false;
      theme.addEventListener("click", () => { root.dataset.theme = isDark() ? "light" : "dark"; });

      // A subject that is hidden in one plot is hidden in all.
      for (const button of all(".legend button")) {
        button.addEventListener("click", () => {
          const shown = button.getAttribute("aria-pressed") !== "true";
          const series = button.dataset.series;
          for (const b of all(`.legend button[data-series="${series}"]`)) {
            b.setAttribute("aria-pressed", String(shown));
          }
          for (const g of all(`g.series[data-series="${series}"]`)) g.classList.toggle("off", !shown);
        });
      }

      const keyOf = (row, column) => {
        const cell = row.cells[column];
        const number = Number.parseFloat(cell.dataset.key ?? "");
        return Number.isNaN(number) ? cell.textContent : number;
      };
      const compare = (a, b) => typeof a === "number" && typeof b === "number"
        ? a - b
        : String(a).localeCompare(String(b), "en", { numeric: true });
      for (const table of all("table.sortable")) {
        const heads = all("thead th", table);
        heads.forEach((head, column) => {
          head.dataset.sort = "";
          head.tabIndex = 0;
          const sort = () => {
            const up = head.getAttribute("aria-sort") !== "ascending";
            heads.forEach((h) => h.removeAttribute("aria-sort"));
            head.setAttribute("aria-sort", up ? "ascending" : "descending");
            const body = table.tBodies[0];
            const rows = Array.from(body.rows)
              .sort((a, b) => (up ? 1 : -1) * compare(keyOf(a, column), keyOf(b, column)));
            body.append(...rows);
          };
          head.addEventListener("click", sort);
          head.addEventListener("keydown", (event) => { if (event.key === "Enter") sort(); });
        });
      }

      // Hints of our own appear at once; the browser's (title) would come on top.
      const tip = document.getElementById("tip");
      for (const mark of all("[data-tip]")) {
        mark.querySelector("title")?.remove();
        mark.addEventListener("pointerenter", (event) => {
          tip.textContent = mark.dataset.tip;
          tip.hidden = false;
          const width = tip.offsetWidth;
          tip.style.left = `${Math.max(4, Math.min(event.clientX + 12, innerWidth - width - 4))}px`;
          tip.style.top = `${Math.max(4, event.clientY - 36)}px`;
        });
        mark.addEventListener("pointerleave", () => { tip.hidden = true; });
      }

      const save = document.getElementById("save");
      save.hidden = false;
      save.addEventListener("click", () => {
        const text = JSON.stringify(JSON.parse(document.getElementById("data").textContent), null, 2);
        const link = document.createElement("a");
        link.href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
        link.download = "comparison.json";
        link.click();
        setTimeout(() => URL.revokeObjectURL(link.href), 1000);
      });

      addEventListener("beforeprint", () => { for (const d of all("details.print")) d.open = true; });
    })();
    """
}
