// Two opinions about the next token, p and q, and one rule. Drag the bars, sample, and see what comes out.

const sum = (row) => row.reduce((total, x) => total + x, 0);

/** The probability that a guess from q is accepted: what p and q share. */
const overlap = (p, q) => sum(p.map((_, x) => Math.min(p[x], q[x])));

/** The probability that the guess x is accepted. */
const heads = (p, q, x) => (q[x] > 0 ? Math.min(1, p[x] / q[x]) : 0);

/** norm(max(p − q, 0)); where nothing is left it is p. */
function residual(p, q) {
  const excess = p.map((_, x) => Math.max(p[x] - q[x], 0));
  const total = sum(excess);
  return total > 0 ? excess.map((e) => e / total) : p;
}

/** What follows a refusal: a distribution, or null if the refused token is thrown away. */
const afterRefusal = (p, q, rule) => ({ residual: residual(p, q), p, nothing: null })[rule];

/** The law of the tokens that come out, in the long run. */
function law(p, q, rule) {
  const kept = p.map((_, x) => q[x] * heads(p, q, x));
  const next = afterRefusal(p, q, rule);
  const alpha = overlap(p, q);
  return next ? kept.map((k, x) => k + (1 - alpha) * next[x]) : kept.map((k) => (alpha ? k / alpha : 0));
}

/** The row with `value` at x; the others keep their proportions, and the sum stays 1. */
function moved(row, x, value) {
  const rest = 1 - row[x];
  return row.map((w, y) => (y === x ? value : rest > 0 ? (w * (1 - value)) / rest : (1 - value) / (row.length - 1)));
}

/** One guess and its fate. `token` is null if it was refused and nothing took its place. */
function sample(p, q, rule, random) {
  const guess = pick(q, random());
  const u = random();
  const accepted = u < heads(p, q, guess);
  const next = afterRefusal(p, q, rule);
  return { guess, u, accepted, token: accepted ? guess : next && pick(next, random()) };
}

/** n samples: how often each token came out accepted, how often after a refusal, and how many were thrown away. */
function tally(p, q, rule, n, random, counts) {
  counts ??= { accepted: p.map(() => 0), residual: p.map(() => 0), gone: 0 };
  for (; n > 0; n--) {
    const { accepted, token } = sample(p, q, rule, random);
    if (token === null) counts.gone++;
    else counts[accepted ? "accepted" : "residual"][token]++;
  }
  return counts;
}

function mount(root, data) {
  const { all, one, show } = parts(root);
  const { tokens, presets } = data;
  let rows, rule, counts, random;

  const said = (x) => x.toFixed(2);
  const emitted = () => sum(counts.accepted) + sum(counts.residual);

  function clear() {
    [counts, random] = [tally(rows.p, rows.q, rule, 0), dice(data.seed)];
  }

  function draw() {
    const { p, q } = rows;
    const n = emitted();
    all("[data-token]").forEach((column) => {
      const x = +column.dataset.token;
      const shares = { p: p[x], q: q[x], a: counts.accepted[x] / (n || 1), r: counts.residual[x] / (n || 1) };
      for (const [name, value] of Object.entries(shares)) column.style.setProperty(`--${name}`, value);
      show(`p${x}`, said(p[x]));
      show(`q${x}`, said(q[x]));
      show(`out${x}`, n ? said(shares.a + shares.r) : "–");
    });
    for (const knob of all("[role=slider]")) {
      const value = rows[knob.dataset.row][knob.dataset.at];
      knob.setAttribute("aria-valuenow", value);
      knob.setAttribute("aria-valuetext", said(value));
    }
    show("alpha", said(overlap(p, q)));
    show("accepted", sum(counts.accepted));
    show("residual", sum(counts.residual));
    show("gone", counts.gone);
    const gap = Math.max(...p.map((w, x) => Math.abs((counts.accepted[x] + counts.residual[x]) / (n || 1) - w)));
    show("gap", n ? said(gap) : "–");
  }

  const say = (text) => show("say", text);

  function set(row, x, value) {
    rows[row] = moved(rows[row], x, clamp(Math.round(value * 100) / 100, 0, 1));
    clear();
    draw();
    say(`${row} of “${tokens[x]}” is now ${said(rows[row][x])}, so α = ${said(overlap(rows.p, rows.q))}. The counts start again.`);
  }

  function story({ guess, u, accepted, token }) {
    const chance = said(heads(rows.p, rows.q, guess));
    const verdict = `The draft guesses “${tokens[guess]}”. It may stay with probability ${chance}; u = ${u.toFixed(3)}, so `;
    if (accepted) return `${verdict}it is accepted.`;
    if (token === null) return `${verdict}it is refused, and nothing takes its place.`;
    return `${verdict}it is refused. ${rule === "p" ? "A draw from p" : "The residual"} gives “${tokens[token]}”.`;
  }

  function once() {
    const made = sample(rows.p, rows.q, rule, random);
    if (made.token === null) counts.gone++;
    else counts[made.accepted ? "accepted" : "residual"][made.token]++;
    draw();
    say(story(made));
  }

  /** A hundred at once, or a few a frame for those who like to watch; the dice fall the same either way. */
  function many(n) {
    const [mine, step] = [counts, calm() ? n : 4];
    const frame = () => {
      if (counts !== mine) return; // p or q was moved meanwhile
      tally(rows.p, rows.q, rule, Math.min(step, n), random, counts);
      draw();
      n -= step;
      if (n > 0) return requestAnimationFrame(frame);
      const share = tokens.map((token, x) => `${token} ${one(`[data-show="out${x}"]`).textContent}`).join(", ");
      say(`${emitted()} tokens have come out: ${share}. p is ${rows.p.map(said).join(", ")}.`);
    };
    frame();
  }

  function reset() {
    rows = { p: [...data.p], q: [...data.q] };
    rule = one("[data-set=rule]").value = "residual";
    clear();
    draw();
    say(data.say);
  }

  buttons(root, {
    one: once,
    many: () => many(100),
    reset,
    preset: (name) => {
      rows.q = name === "p" ? [...rows.p] : [...presets[name]];
      clear();
      draw();
      say(`q is now ${rows.q.map(said).join(", ")}, so α = ${said(overlap(rows.p, rows.q))}.`);
    },
  });
  one("[data-set=rule]").addEventListener("change", (event) => {
    rule = event.target.value;
    clear();
    draw();
    say(`In the long run this rule gives ${law(rows.p, rows.q, rule).map(said).join(", ")}; p is ${rows.p.map(said).join(", ")}.`);
  });
  for (const knob of all("[role=slider]")) {
    const [row, x] = [knob.dataset.row, +knob.dataset.at];
    const steps = { ArrowUp: 0.05, ArrowRight: 0.05, ArrowDown: -0.05, ArrowLeft: -0.05, PageUp: 0.2, PageDown: -0.2, Home: -1, End: 1 };
    knob.addEventListener("keydown", (event) => {
      if (!(event.key in steps)) return;
      event.preventDefault();
      set(row, x, rows[row][x] + steps[event.key]);
    });
    knob.addEventListener("pointerdown", (event) => knob.setPointerCapture(event.pointerId));
    knob.addEventListener("pointermove", (event) => {
      if (!knob.hasPointerCapture(event.pointerId)) return;
      const box = knob.parentElement.getBoundingClientRect();
      set(row, x, (box.bottom - event.clientY) / box.height);
    });
  }
  reset();
}
