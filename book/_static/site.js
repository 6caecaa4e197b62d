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

// The theme puts the list of pages where it stood on the page before, and at
// first where it hides the search field. It is moved only as far as the page's
// own entry needs it.
addEventListener("DOMContentLoaded", () => {
  const list = document.querySelector(".bd-sidebar-primary");
  const here = [...list?.querySelectorAll("nav .current > a") ?? []].at(-1);
  if (!here) return;
  if (sessionStorage.getItem("sidebar-scroll-top") === null) list.scrollTop = 0;
  const [box, entry] = [list, here].map((e) => e.getBoundingClientRect());
  const above = Math.min(0, entry.top - box.top);
  const below = Math.max(0, entry.bottom - Math.min(box.bottom, innerHeight));
  // Places to scroll to are whole pixels on some screens.
  list.scrollTop += Math.floor(above) + Math.ceil(below);
});
