// Wrong loops and tests: who catches whom? Open a row to see the bug; switch tests off to see which of them you need.

/** Which of the chosen tests (indices) catch a bug, given its row of the matrix. */
const catchers = (row, chosen) => chosen.filter((test) => row[test]);

/** What the chosen tests do together: how many bugs they catch, and the names of those that escape. */
function together({ names, matrix, right }, chosen) {
  const bugs = names.filter((_, i) => i !== right);
  const escaped = names.filter((_, i) => i !== right && !catchers(matrix[i], chosen).length);
  return { caught: bugs.length - escaped.length, bugs: bugs.length, escaped };
}

/** The same in words. */
function verdict(data, chosen) {
  const { caught, bugs, escaped } = together(data, chosen);
  const tests = chosen.length === 1 ? "1 test catches" : `${chosen.length} tests catch`;
  const rest = escaped.length > 3 ? `${escaped.length} bugs escape` : `${escaped.map((name) => `“${name}”`).join(", ")} escape${escaped.length === 1 ? "s" : ""}`;
  return `${tests} ${caught} of ${bugs} bugs${escaped.length ? `; ${rest}` : ""}.`;
}

function mount(root, data) {
  const { all, show } = parts(root);
  const on = data.tests.map(() => true);
  const chosen = () => on.flatMap((yes, test) => (yes ? [test] : []));

  function draw() {
    all("[data-test]").forEach((cell) => cell.classList.toggle("off", !on[cell.dataset.test]));
    all("tr[data-row]").forEach((line) => {
      const row = +line.dataset.row;
      line.classList.toggle("escapes", row !== data.right && !catchers(data.matrix[row], chosen()).length);
    });
  }

  function open(row) {
    all(".change").forEach((change, i) => change.classList.toggle("now", i === row));
    all("[data-do^=open]").forEach((button, i) => button.setAttribute("aria-pressed", i === row));
    all("tr[data-row]").forEach((line, i) => line.classList.toggle("now", i === row));
  }

  function every(yes) {
    on.fill(yes);
    all("[data-do^=test]").forEach((button) => button.setAttribute("aria-pressed", yes));
    draw();
    show("say", verdict(data, chosen()));
  }

  const rows = all("[data-do^=open]");
  buttons(root, {
    open: (row) => open(+row),
    test: (test, button) => {
      on[test] = !on[test];
      button.setAttribute("aria-pressed", on[test]);
      draw();
      show("say", verdict(data, chosen()));
    },
    all: () => every(true),
    none: () => every(false),
  });
  for (const cell of all("td[data-test]"))
    cell.addEventListener("click", () => {
      const row = +cell.parentElement.dataset.row;
      open(row);
      const does = data.matrix[row][cell.dataset.test] ? "catches" : "does not see";
      show("say", `“${data.tests[cell.dataset.test]}” ${does} “${data.names[row]}”.`);
    });
  rows.forEach((button, i) =>
    button.addEventListener("keydown", (event) => {
      const to = { ArrowDown: i + 1, ArrowUp: i - 1, Home: 0, End: rows.length - 1 }[event.key];
      if (!rows[to]) return;
      event.preventDefault();
      rows[to].focus();
      open(to);
    }),
  );
  draw();
}
