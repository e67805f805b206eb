// What Sphinx and the theme leave out: the level of the sidebar's headings, code that scrolls only by
// mouse, and parameters on lines of their own, which are definitions (dd) of nothing.
document.addEventListener("DOMContentLoaded", () => {
  for (const heading of document.querySelectorAll('.caption[role="heading"]'))
    heading.setAttribute("aria-level", "2");
  for (const code of document.querySelectorAll(".highlight pre, .table-wrapper"))
    code.setAttribute("tabindex", "0");
  for (const parameters of document.querySelectorAll("dt.sig > dl")) {
    parameters.setAttribute("role", "list");
    for (const one of parameters.children) one.setAttribute("role", "listitem");
  }
});
