// Runs before the widget manager, on pages that have widgets.

// The theme's icon script rewrites <i> elements whenever they appear, which breaks the Play widget and with it every
// link on its slider. The page's own icons are drawn once at the start and need no watching.
window.FontAwesomeConfig.observeMutations = false;

// Widgets typeset their formulas through the queue of MathJax 2; this page has MathJax 3, which replaces
// window.MathJax when it is ready. Where a page has no formula of its own there is no MathJax, and none is needed.
if (window.MathJax) {
  const Hub = {
    Queue: ([, , element]) => {
      MathJax.startup.promise = MathJax.startup.promise.then(() => MathJax.typesetPromise([element]));
    },
  };
  window.MathJax.startup = {
    ready() {
      MathJax.startup.defaultReady();
      MathJax.Hub = Hub;
    },
  };
}
