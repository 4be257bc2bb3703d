// Where the build had no node at hand, formulas are TeX in the page, and KaTeX draws them once it has arrived.
addEventListener("load", () => {
  if (!window.katex) return; // no network either: the TeX stays
  for (const element of document.querySelectorAll(".bd-article .math:not(:has(.katex))"))
    katex.render(element.textContent, element, { displayMode: element.tagName === "DIV", throwOnError: false });
});
