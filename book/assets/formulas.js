// Where the build had no node at hand, formulas are TeX in the page; KaTeX draws them once the page is there.
for (const element of document.querySelectorAll(".bd-article .math")) {
  if (element.querySelector(".katex")) continue;
  katex.render(element.textContent, element, { displayMode: element.tagName === "DIV", throwOnError: false });
}
