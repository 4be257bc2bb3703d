// Formulas are TeX in the page; KaTeX draws them once the page is there.
for (const element of document.querySelectorAll(".bd-article .math")) {
  const displayMode = element.tagName === "DIV";
  katex.render(element.textContent, element, { displayMode, throwOnError: false });
}
