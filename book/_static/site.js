// Equations that are wider than the page scroll inside their own box, so the
// keyboard must reach them. The theme does the same for code and tables.
(() => {
  const reach = () => {
    for (const box of document.querySelectorAll(".katex-display")) {
      if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
      else box.removeAttribute("tabindex");
    }
  };
  addEventListener("resize", reach);
  document.fonts.ready.then(reach);
})();
