(() => {
  const figure = document.currentScript?.closest("figure.course-still");
  if (!figure) return;
  const stills = JSON.parse(figure.querySelector('script[type="application/json"]').textContent);
  const [image, range, title, count, caption] = [
    "img", "input", ".course-still-title", ".course-still-count", "figcaption",
  ].map((name) => figure.querySelector(name));
  const preference = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => {
    const { theme, jpThemeLight } = document.body?.dataset ?? {};
    if (jpThemeLight) return jpThemeLight === "false";
    const chosen = document.documentElement.dataset.theme ?? theme;
    return chosen === "dark" || ((!chosen || chosen === "auto") && preference.matches);
  };
  const draw = () => {
    const still = stills[Number(range.value)];
    const place = `${Number(range.value) + 1} of ${stills.length}`;
    image.src = isDark() ? still.dark : still.light;
    image.alt = caption.textContent = still.caption;
    title.textContent = still.title;
    count.textContent = place;
    range.setAttribute("aria-valuetext", `${place}: ${still.title}`);
  };
  const step = (by) => {
    range.value = (Number(range.value) + by + stills.length) % stills.length;
    draw();
  };
  range.addEventListener("input", draw);
  figure.querySelector(".back").addEventListener("click", () => step(-1));
  figure.querySelector(".on").addEventListener("click", () => step(1));
  preference.addEventListener("change", draw);
  const watcher = new MutationObserver(draw);
  for (const element of [document.documentElement, document.body])
    watcher.observe(element, { attributes: true, attributeFilter: ["data-theme", "data-jp-theme-light"] });
  draw();
})();
