// What the explorables share: dice that always fall in the same order, and a short way to the parts of a page.

/** Seeded dice (mulberry32): each call gives the next number in [0, 1). */
function dice(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

/** The index whose share of the weights the uniform number u in [0, 1) falls into; never one of weight 0. */
function pick(weights, u) {
  const height = (1 - u) * weights.reduce((total, w) => total + w, 0);
  let reached = 0;
  return weights.findIndex((w) => (reached += w) >= height);
}

const clamp = (x, low, high) => Math.min(Math.max(x, low), high);
const calm = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

/** The parts of an explorable by selector; `show` writes a text where data-show has this name. */
function parts(root) {
  const all = (selector) => [...root.querySelectorAll(selector)];
  const one = (selector) => root.querySelector(selector);
  const show = (name, text) => (one(`[data-show="${name}"]`).textContent = text);
  return { all, one, show };
}

/** Give each button its action: {name: function} for data-do="name" or data-do="name:argument". */
function buttons(root, actions) {
  root.addEventListener("click", (event) => {
    const button = event.target.closest("[data-do]");
    if (!button) return;
    const [name, argument] = button.dataset.do.split(":");
    actions[name](argument, button);
  });
}

/** Set a range input, with its value in words. */
function setSlider(root, name, value, words) {
  const input = root.querySelector(`[data-set="${name}"]`);
  input.value = value;
  input.setAttribute("aria-valuetext", words);
  root.querySelector(`[data-show="${name}"]`).textContent = words;
}

/** Bring every copy of this explorable to life, once. */
function start(id, mount) {
  for (const root of document.querySelectorAll(`[id="${id}"]:not([data-live])`)) {
    root.dataset.live = "";
    mount(root, JSON.parse(root.querySelector('script[type="application/json"]').textContent));
  }
}
