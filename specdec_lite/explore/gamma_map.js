// Every draft is a point: how often its guesses are accepted (α), and what a guess costs (c). Which γ suits it best?

/** Tokens per round: 1 + α + … + α^γ. */
function expectedTokens(alpha, gamma) {
  let total = 0;
  for (let i = 0; i <= gamma; i++) total += alpha ** i;
  return total;
}

/** Speed-up over plain decoding: tokens of a round over its time, in plain target steps. */
const speedup = (alpha, gamma, c, v) => expectedTokens(alpha, gamma) / (gamma * c + v);

/** The γ with the largest speed-up, and that speed-up; `v` has a price for each γ. */
function best(alpha, c, gammas, v) {
  const factors = gammas.map((gamma, i) => speedup(alpha, gamma, c, v[i]));
  const factor = Math.max(...factors);
  return { gamma: gammas[factors.indexOf(factor)], factor };
}

/** The map as a picture: for each γ the cells (row, first column, number of columns) where it is best and pays. */
function regions({ columns, rows, top, gammas }, v) {
  const found = new Map(gammas.map((gamma) => [gamma, []]));
  const tokens = [...Array(columns).keys()].map((k) => gammas.map((gamma) => expectedTokens((k + 0.5) / columns, gamma)));
  for (let row = 0; row < rows; row++) {
    const times = gammas.map((gamma, i) => gamma * ((row + 0.5) / rows) * top + v[i]);
    let run = null;
    for (let k = 0; k < columns; k++) {
      const factors = tokens[k].map((made, i) => made / times[i]);
      const factor = Math.max(...factors);
      const gamma = factor > 1 ? gammas[factors.indexOf(factor)] : null;
      if (run?.gamma !== gamma) run = gamma === null ? null : { gamma, row, start: k, length: 0 };
      if (run && !run.length++) found.get(gamma).push(run);
    }
  }
  return found;
}

/** The cells of one γ as an SVG path. Row 0 is at the bottom. */
const path = (runs, rows) => runs.map(({ row, start, length }) => `M${start} ${rows - 1 - row}h${length}v1h-${length}z`).join("");

/** Where a region's number stands: half-way up, as far as there is room for it; null if there is none. */
function tag(runs, { columns, rows }) {
  const roomy = runs.filter(({ length }) => length >= 0.04 * columns);
  if (roomy.length < 0.08 * rows) return null;
  const { row, start, length } = roomy[Math.floor(roomy.length / 2)];
  return { x: (start + length / 2) / columns, y: (row + 0.5) / rows };
}

/** How many doublings above 1 the curve's axis needs. */
const octaves = (factors) => Math.max(1, Math.ceil(Math.log2(Math.max(...factors))));

/** A height on the curve's axis, 1/2 at 0 and 2^above at 1, each doubling the same distance. */
const height = (factor, above) => clamp((Math.log2(factor) + 1) / (above + 1), 0, 1);

function mount(root, data) {
  const { all, one, show } = parts(root);
  const { gammas, top } = data;
  const at = { ...data.point };

  const prices = () => (at.v === undefined ? data.v : gammas.map(() => at.v));
  const said = (x) => x.toFixed(2);
  const place = (element, x, y) => {
    element.style.setProperty("--x", x);
    element.style.setProperty("--y", y);
  };

  function drawMap() {
    for (const [gamma, runs] of regions(data, prices())) {
      one(`path[data-gamma="${gamma}"]`).setAttribute("d", path(runs, data.rows));
      const [label, spot] = [one(`.tag[data-gamma="${gamma}"]`), tag(runs, data)];
      label.hidden = !spot;
      if (spot) place(label, spot.x, spot.y);
    }
  }

  function drawPoint() {
    const [{ alpha, c }, v] = [at, prices()];
    const { gamma, factor } = best(alpha, c, gammas, v);
    place(one(".point"), alpha, c / top);
    const factors = gammas.map((g, i) => speedup(alpha, g, c, v[i]));
    const above = octaves(factors);
    const heights = factors.map((each) => height(each, above));
    one(".slow").style.setProperty("--y", height(1, above));
    for (const tick of all("[data-factor]")) {
      tick.style.setProperty("--x", height(+tick.dataset.factor, above));
      tick.hidden = +tick.dataset.factor > 2 ** above;
    }
    all(".dot").forEach((dot, i) => {
      dot.style.setProperty("--y", heights[i]);
      dot.classList.toggle("best", gammas[i] === gamma && factor > 1);
    });
    const [name, i] = [one(".name"), gammas.indexOf(gamma)];
    name.hidden = factor <= 1;
    name.textContent = `γ = ${gamma}`;
    place(name, (i + 0.5) / gammas.length, heights[i]);
    one("polyline").setAttribute("points", heights.map((y, i) => `${i + 0.5},${1 - y}`).join(" "));
    for (const name of Object.keys(at)) setSlider(root, name, at[name], said(at[name]));
    show("say", finding(alpha, c, gamma, factor));
  }

  function finding(alpha, c, gamma, factor) {
    const here = `α = ${said(alpha)}, c = ${said(c)}${at.v === undefined ? "" : `, v = ${said(at.v)}`}: `;
    if (factor > 1) return `${here}the best γ is ${gamma}, ${said(factor)} times as fast as plain decoding.`;
    return `${here}no γ pays. The best of them, ${gamma}, reaches ${said(factor)} times plain decoding’s speed.`;
  }

  function set(changes) {
    Object.assign(at, changes);
    if ("v" in changes) drawMap();
    drawPoint();
  }

  for (const name of Object.keys(at))
    one(`[data-set=${name}]`).addEventListener("input", (event) => set({ [name]: +event.target.value }));
  buttons(root, { mark: (i) => set({ alpha: data.marks[i].alpha, c: data.marks[i].c }) });

  const plane = one(".map .plane");
  let dragging = false;
  function drag(event) {
    const box = plane.getBoundingClientRect();
    const [x, y] = [(event.clientX - box.left) / box.width, (box.bottom - event.clientY) / box.height];
    const hundredths = (value, most) => clamp(Math.round(value * 100) / 100, 0, most);
    set({ alpha: hundredths(x, 1), c: hundredths(y * top, top) });
  }
  plane.addEventListener("pointerdown", (event) => {
    dragging = true;
    plane.setPointerCapture(event.pointerId);
    drag(event);
  });
  plane.addEventListener("pointermove", (event) => dragging && drag(event));
  for (const end of ["pointerup", "pointercancel"]) plane.addEventListener(end, () => (dragging = false));
  drawPoint();
}
