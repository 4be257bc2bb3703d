// Sphinx fetches every page that it found, to show an excerpt. A browser refuses that to a page opened from disk, so
// there the excerpts come from search_texts.js, which the build writes.
if (location.protocol === "file:") {
  window.fetch = async (address) => {
    const page = Object.keys(SEARCH_TEXTS).find((name) => String(address).split(/[?#]/)[0].endsWith(name));
    return { text: async () => `<main role="main">${SEARCH_TEXTS[page] ?? ""}</main>` };
  };
}
