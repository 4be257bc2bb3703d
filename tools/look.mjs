// Look at every built page in a browser, as a reader would: light and dark, desktop and phone, on paper, without
// JavaScript, by keyboard and mouse. Run by tools/look.py, which brings the browser and the two packages.
//
//     node tools/look.mjs <built html> <folder with node_modules> <chromium> <folder for screenshots, or "">

import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { createRequire } from "node:module";
import { fileURLToPath, pathToFileURL } from "node:url";

const [html, packages, browserPath, shots] = process.argv.slice(2);
const require = createRequire(path.join(path.resolve(packages), "package.json"));
const { chromium } = require("playwright-core");
const AXE = fs.readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

const DESKTOP = { width: 1300, height: 900 };
const PHONE = { width: 390, height: 844 };
const PAPER = { width: 718, height: 1000 }; // A4 between its margins, in CSS pixels
const TEXT_LIMIT = 1e6;
const WIDGET_LIMIT = 4e6;

const FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"];
FLAGS.push("--disable-component-update", "--disable-sync", "--allow-file-access-from-files=false");

const pages = fs
  .readdirSync(html, { recursive: true })
  .filter((name) => name.endsWith(".html") && !name.startsWith("_") && name !== "index.html" && name !== "search.html")
  .filter((name) => !process.env.PAGES || new RegExp(process.env.PAGES).test(name))
  .sort();

const profile = fs.mkdtempSync(path.join(os.tmpdir(), "look-"));
const browser = await chromium.launchPersistentContext(profile, {
  executablePath: browserPath,
  args: FLAGS.slice(0, -1),
  viewport: DESKTOP,
});
const withoutScripts = await chromium.launchPersistentContext(`${profile}-plain`, {
  executablePath: browserPath,
  args: FLAGS.slice(0, -1),
  viewport: DESKTOP,
  javaScriptEnabled: false,
});

const address = (name, hash = "") => pathToFileURL(path.resolve(html, name)).href + hash;
const problems = []; // [page, kind, what]
const rows = [];
const theirs = new Map();

// A tab that counts: what it asks for, and what goes wrong in it.
async function open(context, name, { scheme = "light", size = DESKTOP, hash = "", settle = 350 } = {}) {
  const tab = await context.newPage();
  const seen = { external: [], errors: [], files: new Map() };
  tab.on("request", (request) => {
    const url = request.url();
    if (url.startsWith("file:")) {
      const file = fileURLToPath(url.split(/[?#]/)[0]);
      if (fs.existsSync(file) && fs.statSync(file).isFile()) seen.files.set(file, fs.statSync(file).size);
    } else if (!/^(data|blob|about|chrome-extension):/.test(url)) seen.external.push(url);
  });
  tab.on("pageerror", (error) => seen.errors.push(String(error).slice(0, 160)));
  tab.on("console", (message) => message.type() === "error" && seen.errors.push(message.text().slice(0, 160)));
  await tab.setViewportSize(size);
  await tab.emulateMedia({ colorScheme: scheme, reducedMotion: "reduce" });
  await tab.goto(address(name, hash), { waitUntil: "load" });
  if (await tab.evaluate(() => Boolean(document.querySelector(".jupyter-widgets, [type='application/vnd.jupyter.widget-view+json']"))).catch(() => false))
    await tab.waitForFunction(() => document.querySelector(".jupyter-widgets"), null, { timeout: 15000 }).catch(() => {});
  await tab.waitForTimeout(settle);
  return [tab, seen];
}

async function picture(tab, name, kind) {
  if (!shots) return;
  const file = path.join(shots, `${name.replace(/\.html$/, "").replaceAll("/", "_")}_${kind}.png`);
  fs.mkdirSync(shots, { recursive: true });
  await tab.screenshot({ path: file, fullPage: true }).catch((error) => console.error(file, String(error).slice(0, 80)));
}

async function axe(tab) {
  await tab.evaluate(AXE);
  return tab.evaluate(async () => {
    const result = await window.axe.run(document, { resultTypes: ["violations"], preload: false });
    const rows = [];
    for (const rule of result.violations)
      if (["critical", "serious"].includes(rule.impact))
        for (const node of rule.nodes) {
          const element = document.querySelector(node.target.flat().at(-1));
          const ours = Boolean(element?.closest("article.bd-article, .eyebrow, .chapter-number"));
          rows.push({ rule: rule.id, impact: rule.impact, ours, what: node.html.slice(0, 110), why: node.any[0]?.message?.slice(0, 110) });
        }
    return rows;
  });
}

const scrolling = (selector) => {
  const wide = [...document.querySelectorAll(selector)].filter((box) => {
    if (!box.checkVisibility() || box.scrollWidth <= box.clientWidth + 1) return false;
    return true;
  });
  return wide.map((box) => box.textContent.trim().slice(0, 60));
};
const CODE = ".bd-article .highlight pre";
const OUTPUT = ".cell_output pre, .cell_output .output, .cell_output table";

async function figures(tab) {
  return tab.evaluate(() =>
    [...document.querySelectorAll(".bd-article img")]
      .filter((image) => image.checkVisibility() && !image.closest(".jupyter-widgets"))
      .map((image) => {
        const alt = image.getAttribute("alt") ?? "";
        const named = alt.trim().length >= 15 && !/\.(png|svg|jpe?g)$|^_images\/|[0-9a-f]{24}/.test(alt);
        const width = image.getBoundingClientRect().width;
        const drawn = /\.svg$/.test(image.src.split("?")[0]);
        return { named, width: Math.round(width), drawn, ratio: drawn ? 2 : image.naturalWidth / width };
      }),
  );
}

// Every control that an output has answers to the keyboard, and sliders to the mouse.
async function controls(tab, name) {
  let keys = 0;
  let mouse = 0;
  const handles = await tab.$$(
    ".cell_output [role=slider], .cell_output input[type=range], .cell_output button, .cell_output select, .cell_output [role=tab]",
  );
  const state = () =>
    tab.evaluate(() =>
      [...document.querySelectorAll(".cell_output")]
        .map((box) => box.innerHTML + [...box.querySelectorAll("input, select")].map((e) => e.value + e.checked).join())
        .join("\n"),
    );
  let tried = 0;
  for (const handle of handles) {
    if (!(await handle.isVisible()) || !(await handle.isEnabled()) || tried >= 30) continue;
    if (await handle.evaluate((e) => e.matches(".copybtn, .toggle-button"))) continue;
    tried++;
    const kind = await handle.evaluate((e) => (e.matches("button") ? "button" : e.matches("select") ? "select" : "slider"));
    await handle.scrollIntoViewIfNeeded();
    const before = await state();
    await handle.focus();
    const tries = kind === "button" ? ["Enter", " "] : ["ArrowRight", "ArrowLeft", "ArrowDown", "ArrowUp"];
    let moved = false;
    for (const key of tries) {
      await tab.keyboard.press(key);
      await tab.waitForTimeout(60);
      if ((moved = (await state()) !== before)) break;
    }
    if (moved) keys++;
    else if (kind !== "button") problems.push([name, "keys", (await handle.evaluate((e) => e.outerHTML)).slice(0, 90)]);
    if (kind === "slider") {
      const box = await handle.boundingBox();
      const native = await handle.evaluate((e) => e.matches("input"));
      const held = await state();
      const y = box.y + box.height / 2;
      const from = native ? box.x + 4 : box.x + box.width / 2;
      await tab.mouse.move(from, y);
      await tab.mouse.down();
      await tab.mouse.move(from + (native ? box.width / 2 : 60), y, { steps: 6 });
      await tab.mouse.up();
      await tab.waitForTimeout(60);
      let dragged = (await state()) !== held;
      if (!dragged) {
        await tab.mouse.move(box.x + box.width / 2, y);
        await tab.mouse.down();
        await tab.mouse.move(box.x - 60, y, { steps: 6 });
        await tab.mouse.up();
        await tab.waitForTimeout(60);
        dragged = (await state()) !== held;
      }
      if (dragged) mouse++;
      else problems.push([name, "mouse", (await handle.evaluate((e) => e.outerHTML)).slice(0, 90)]);
    }
  }
  return tried ? `${tried}: ${keys} keys, ${mouse} mouse` : "";
}

// Where does the browser stand after #anchor? At the heading, unless the page ends before it can.
async function anchors(name, ids) {
  let worst = 0;
  for (const id of ids) {
    const [tab] = await open(browser, name, { hash: `#${id}`, settle: 500 });
    const off = await tab.evaluate((id) => {
      const top = document.getElementById(id).getBoundingClientRect().top;
      const page = document.scrollingElement;
      const end = Math.abs(page.scrollTop + page.clientHeight - page.scrollHeight) < 2;
      const wanted = parseFloat(getComputedStyle(page).scrollPaddingTop) || 0;
      const margin = parseFloat(getComputedStyle(document.getElementById(id)).scrollMarginTop) || 0;
      return end && top > 0 ? 0 : Math.round(Math.abs(top - wanted - margin));
    }, id);
    if (off > 12) problems.push([name, "anchor", `#${id} is ${off} px off`]);
    worst = Math.max(worst, off);
    await tab.close();
  }
  return worst;
}

for (const name of pages) {
  const row = { page: name.replace(/\.html$/, "") };
  const [tab, seen] = await open(browser, name);
  row.kB = Math.round([...seen.files.values()].reduce((a, b) => a + b, 0) / 1000);
  const widgets = await tab.evaluate(() => document.querySelectorAll(".jupyter-widgets, .explorable, [data-explorable]").length > 0);
  const limit = widgets ? WIDGET_LIMIT : TEXT_LIMIT;
  if (row.kB * 1000 > limit) problems.push([name, "weight", `${row.kB} kB, at most ${limit / 1000}`]);
  await picture(tab, name, "light");
  const wide = await tab.evaluate(`(${scrolling})(${JSON.stringify(CODE)})`);
  row.scroll = wide.length;
  wide.forEach((what) => problems.push([name, "scrolls", what]));
  row.outputs = (await tab.evaluate(`(${scrolling})(${JSON.stringify(OUTPUT)})`)).length;
  const drawn = await figures(tab);
  row.figures = drawn.length;
  row.alt = drawn.filter((figure) => figure.named).length;
  row["2x"] = drawn.filter((figure) => figure.ratio >= 1.9).length;
  row.widths = [...new Set(drawn.map((figure) => figure.width))].join(" ");
  if (row.alt < row.figures) problems.push([name, "alt text", `${row.figures - row.alt} of ${row.figures} figures have none`]);
  if (row["2x"] < row.figures) problems.push([name, "pixels", `${row.figures - row["2x"]} of ${row.figures} figures below 2x`]);
  const found = (await axe(tab)).map((finding) => ({ ...finding, theme: "light" }));
  const ids = await tab.evaluate(() =>
    [...document.querySelectorAll(".bd-article section[id] > h2")].map((heading) => heading.parentElement.id),
  );
  const dead = await tab.evaluate(() =>
    [...document.querySelectorAll("a[href^='#']")].map((a) => a.getAttribute("href").slice(1)).filter((id) => id && !document.getElementById(decodeURIComponent(id))),
  );
  dead.forEach((id) => problems.push([name, "dead link", `#${id}`]));
  row.controls = await controls(tab, name);
  await tab.close();

  const [night, nightSeen] = await open(browser, name, { scheme: "dark" });
  await picture(night, name, "dark");
  found.push(...(await axe(night)).map((finding) => ({ ...finding, theme: "dark" })));
  await night.close();

  const [phone, phoneSeen] = await open(browser, name, { size: PHONE });
  const over = await phone.evaluate(() => document.scrollingElement.scrollWidth - innerWidth);
  if (over > 0) problems.push([name, "phone", `${over} px too wide`]);
  row.phone = over > 0 ? `+${over}` : "fits";
  await picture(phone, name, "phone");
  await phone.close();

  const [paper, paperSeen] = await open(browser, name, { size: PAPER });
  await paper.emulateMedia({ media: "print", colorScheme: "light" });
  await paper.waitForTimeout(150);
  const cut = await paper.evaluate(`(${scrolling})(${JSON.stringify(`${CODE}, .cell_output pre`)})`);
  row.cut = cut.length;
  cut.forEach((what) => problems.push([name, "cut in print", what]));
  await picture(paper, name, "print");
  await paper.close();

  row.ours = found.filter((finding) => finding.ours).length;
  row.theme = found.length - row.ours;
  for (const finding of found)
    if (finding.ours) problems.push([name, `axe ${finding.impact}`, `${finding.theme} ${finding.rule}: ${finding.what} ${finding.why ?? ""}`]);
    else theirs.set(`${finding.rule} (${finding.impact})`, (theirs.get(`${finding.rule} (${finding.impact})`) ?? 0) + 1);

  row.anchors = await anchors(name, ids.slice(-2));

  const plain = await withoutScripts.newPage();
  await plain.goto(address(name));
  const silent = await plain.evaluate(() =>
    [...document.querySelectorAll(".cell_output script[type='application/vnd.jupyter.widget-view+json']")].filter(
      (script) => !script.closest(".cell_output").innerText.trim(),
    ).length,
  ).catch(() => 0);
  if (silent) problems.push([name, "no JavaScript", `${silent} widgets leave no word`]);
  await plain.close();

  const all = [seen, nightSeen, phoneSeen, paperSeen];
  const external = [...new Set(all.flatMap((one) => one.external))];
  const errors = all.flatMap((one) => one.errors);
  row.requests = external.length;
  row.errors = errors.length;
  external.forEach((url) => problems.push([name, "request", url.slice(0, 120)]));
  [...new Set(errors)].forEach((error) => problems.push([name, "error", error]));
  rows.push(row);
  process.stderr.write(".");
}
process.stderr.write("\n");

if (fs.existsSync(path.join(html, "search.html"))) {
  const [tab, seen] = await open(browser, "search.html", { hash: "" });
  await tab.goto(`${address("search.html")}?q=draft`);
  await tab.waitForTimeout(1500);
  const results = await tab.evaluate(() => document.querySelectorAll("ul.search > li").length);
  const excerpts = await tab.evaluate(() => document.querySelectorAll("ul.search > li p.context").length);
  await picture(tab, "search", "light");
  seen.errors.forEach((error) => problems.push(["search", "error", error]));
  if (!results || !excerpts) problems.push(["search", "search", `${results} results, ${excerpts} with an excerpt`]);
  console.log(`search for “draft”: ${results} results, ${excerpts} with an excerpt, ${seen.errors.length} errors\n`);
  await tab.close();
}
await browser.close();
await withoutScripts.close();
fs.rmSync(profile, { recursive: true, force: true });
fs.rmSync(`${profile}-plain`, { recursive: true, force: true });

const columns = [...new Set(rows.flatMap((row) => Object.keys(row)))];
const width = Object.fromEntries(columns.map((c) => [c, Math.max(c.length, ...rows.map((row) => String(row[c] ?? "").length))]));
const line = (row) => columns.map((c) => String(row[c] ?? "")[c === "page" ? "padEnd" : "padStart"](width[c])).join("  ");
console.log(line(Object.fromEntries(columns.map((c) => [c, c]))));
rows.forEach((row) => console.log(line(row)));
console.log(`
kB: what a reader loads. scroll: code cells wider than their box at ${DESKTOP.width} px; outputs: outputs that are.
alt: figures whose alt text says something. 2x: figures with two pixels to a point. controls: how many answer.
cut: code cut off on paper. ours, theme: critical and serious findings of axe, light and dark. anchors: worst miss in px.`);
if (theirs.size) console.log("\nThe theme's own findings:", [...theirs].map(([rule, count]) => `${rule} ${count}`).join(", "));
const kinds = Map.groupBy ? Map.groupBy(problems, (p) => p[1]) : problems.reduce((m, p) => m.set(p[1], [...(m.get(p[1]) ?? []), p]), new Map());
const most = Number(process.env.SHOW ?? 12);
for (const [kind, list] of kinds) {
  console.log(`\n${kind}: ${list.length}`);
  // The same thing many times over is one line.
  const counts = new Map();
  for (const [page, , what] of list) {
    const line = `  ${page}: ${what.replace(/\s+/g, " ")}`;
    const key = kind.startsWith("axe") ? line.replace(/<.*>/, "…") : line;
    counts.set(key, [counts.get(key)?.[0] ?? line, (counts.get(key)?.[1] ?? 0) + 1]);
  }
  [...counts.values()].slice(0, most).forEach(([line, count]) => console.log(line + (count > 1 ? ` (${count} times)` : "")));
  if (counts.size > most) console.log("  …");
}
console.log(problems.length ? `\n${problems.length} findings` : "\nnothing found");
process.exitCode = problems.length ? 1 : 0;
