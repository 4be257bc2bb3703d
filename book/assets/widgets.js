// Runs before the widget manager, on pages that have widgets: it names their controls for those who cannot see them, as
// soon as they appear, and keeps the place of the reader who came for a heading below one.

const NAMES = { "fa-play": "Play", "fa-pause": "Pause", "fa-stop": "Stop", "fa-step-backward": "Back", "fa-step-forward": "Next" };
NAMES["fa-retweet"] = NAMES["fa-repeat"] = "Repeat";

const name = () => {
  for (const icon of document.querySelectorAll(".jupyter-widgets button > i.fa")) {
    const said = Object.entries(NAMES).find(([style]) => icon.classList.contains(style));
    if (said && icon.parentElement.ariaLabel !== said[1]) icon.parentElement.ariaLabel = said[1];
  }
  for (const handle of document.querySelectorAll(".jupyter-widgets [role=slider]")) {
    const box = handle.closest(".jupyter-widgets");
    const label = box.querySelector(".widget-label")?.textContent.trim() || "step";
    const value = box.querySelector(".widget-readout")?.textContent.trim();
    if (handle.ariaLabel !== label) handle.ariaLabel = label;
    if (value && handle.ariaValueText !== value) handle.ariaValueText = value;
  }
  for (const image of document.querySelectorAll("img.widget-image:not([alt])")) image.alt = "The figure at this setting";
  for (const box of document.querySelectorAll(".jupyter-widgets .widget-html-content:not([aria-live])"))
    box.setAttribute("aria-live", "polite");
};

let moved = false;
for (const act of ["wheel", "touchmove", "keydown", "mousedown"]) addEventListener(act, () => (moved = true), { once: true, passive: true });

document.addEventListener("DOMContentLoaded", () => {
  let planned;
  const later = () => {
    clearTimeout(planned);
    planned = setTimeout(() => {
      name();
      if (!moved && location.hash) document.getElementById(decodeURIComponent(location.hash.slice(1)))?.scrollIntoView();
    }, 30);
  };
  const article = document.querySelector(".bd-article");
  new MutationObserver(later).observe(article, { childList: true, subtree: true, attributeFilter: ["class"] });
  new ResizeObserver(later).observe(article);
});
