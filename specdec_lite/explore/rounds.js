// A recorded run, round by round: what was drafted, what the rule said, and what it cost, beside plain decoding.

/** The time of a round in plain target steps: n draft steps, and one pass over n + 1 positions. */
const cost = (n, { c, v, gamma }) => n * c + 1 + (gamma ? ((v - 1) * n) / gamma : 0);

/** Where the run stands after its first i + 1 rounds. */
function stand(data, i) {
  const done = data.rounds.slice(0, i + 1);
  const time = done.reduce((total, { drafted }) => total + cost(drafted, data), 0);
  const tokens = done.reduce((total, { emitted }) => total + emitted, 0);
  return { tokens, time, plain: Math.min(Math.floor(time), data.tokens), passes: done.length };
}

/** The same in words. */
function sentence(data, i) {
  const { tokens, time, plain } = stand(data, i);
  const { kept, drafted, source } = data.rounds[i];
  const end = { residual: " and one correction", bonus: " and a bonus", target: "", null: ", and the text ends" }[source];
  const made = drafted ? `Round ${i + 1}: ${kept} of ${drafted} guesses kept${end}.` : `Round ${i + 1}: a plain step.`;
  if (i < data.rounds.length - 1)
    return `${made} So far ${tokens} token${tokens === 1 ? "" : "s"} in ${time.toFixed(1)} steps of time; plain decoding has ${plain}.`;
  const factor = (data.tokens / time).toFixed(2);
  return `${made} The whole text took ${time.toFixed(1)} steps of time instead of ${data.tokens}: ${factor} times as fast.`;
}

function mount(root, data) {
  const { all, one, show } = parts(root);
  const last = data.rounds.length - 1;
  let now = 0;

  function go(i) {
    now = clamp(i, 0, last);
    const { tokens, time, plain } = stand(data, now);
    for (const element of all("[data-round]")) {
      element.classList.toggle("later", element.dataset.round > now);
      element.classList.toggle("now", +element.dataset.round === now);
    }
    one(".lanes").style.setProperty("--now", time / data.total);
    setSlider(root, "round", now + 1, `${now + 1} of ${last + 1}`);
    show("plain", plain);
    show("tokens", tokens);
    show("say", sentence(data, now));
    for (const [action, stop] of [["first", 0], ["back", 0], ["next", last], ["last", last]])
      one(`[data-do=${action}]`).setAttribute("aria-disabled", now === stop);
  }

  buttons(root, { first: () => go(0), back: () => go(now - 1), next: () => go(now + 1), last: () => go(last) });
  one("[data-set=round]").addEventListener("input", (event) => go(event.target.value - 1));
  one(".controls").addEventListener("keydown", (event) => {
    const to = { ArrowLeft: now - 1, ArrowRight: now + 1, Home: 0, End: last }[event.key];
    if (to === undefined || event.target.matches("input")) return; // the slider has arrows of its own
    event.preventDefault();
    go(to);
  });
  go(0);
}
