(async () => {
  const root = document.querySelector(".reveal");
  const number = root.querySelector(".deck-number");
  const printed = /print-pdf/i.test(location.search);
  // Formulas first: a slide is laid out with them, and none jumps when it comes.
  await MathJax.startup.promise;
  await MathJax.typesetPromise([root]);

  // Keys belong to a demo while it has the focus. Page up and down, the keys of remote controls,
  // turn the slide even then, and Escape gives all keys back to the slides.
  const demo = () => document.activeElement?.closest(".course-still");
  const leave = () => document.activeElement?.blur();
  document.addEventListener("keydown", (event) => {
    if (!demo()) return;
    if (event.key === "PageDown" || event.key === "PageUp") {
      event.preventDefault();
      event.stopPropagation();
      leave();
      event.key === "PageDown" ? Reveal.next() : Reveal.prev();
    } else if (event.key === "Escape") {
      event.stopPropagation();
      leave();
    }
  }, true);

  await Reveal.initialize({
    width: 1280,
    height: 720,
    margin: 0.02,
    minScale: 0.1,
    maxScale: 4,
    center: false,
    controls: false,
    progress: true,
    hash: true,
    transition: "none",
    display: "flex",
    slideNumber: printed ? "c/t" : false,
    pdfSeparateFragments: false,
    pdfMaxPagesPerSlide: 1,
    keyboardCondition: () => !demo(),
    plugins: [RevealNotes],
  });
  Reveal.addKeyBinding({ keyCode: 68, key: "D", description: "Light or dark" }, courseTheme);
  root.querySelector(".deck-theme").addEventListener("click", (event) => {
    courseTheme();
    event.currentTarget.blur();
  });
  const count = () => {
    number.textContent = `${Reveal.getIndices().h + 1} / ${Reveal.getTotalSlides()}`;
  };
  Reveal.on("slidechanged", () => {
    leave();
    count();
  });
  count();
  document.documentElement.dataset.ready = "true";
})();
