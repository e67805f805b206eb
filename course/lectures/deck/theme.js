(() => {
  // Light or dark: the choice that was made before, else the system's. Runs before the first paint.
  const preference = matchMedia("(prefers-color-scheme: dark)");
  const chosen = () => {
    try { return localStorage.getItem("course-theme"); } catch { return null; }
  };
  const apply = () => {
    document.documentElement.dataset.theme = chosen() ?? (preference.matches ? "dark" : "light");
  };
  window.courseTheme = () => {
    const next = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
    try { localStorage.setItem("course-theme", next); } catch { /* a page without storage */ }
    document.documentElement.dataset.theme = next;
  };
  preference.addEventListener("change", apply);
  addEventListener("storage", apply);
  apply();
})();
