// What the theme leaves out: the level of the sidebar's headings, and code that scrolls only by mouse.
document.addEventListener("DOMContentLoaded", () => {
  for (const heading of document.querySelectorAll('.caption[role="heading"]'))
    heading.setAttribute("aria-level", "2");
  for (const code of document.querySelectorAll(".highlight pre, .table-wrapper"))
    code.setAttribute("tabindex", "0");
});
