"""Ask axe whether a page can be used without eyes and without a mouse (WCAG 2, A and AA)."""

from __future__ import annotations

from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

__all__ = ["findings"]

# No preload: it fetches style sheets again, which a browser refuses where pages are files.
_RUN = """async (selector) => {
  const rules = { runOnly: ['wcag2a', 'wcag2aa'], preload: false };
  const found = await axe.run(selector ?? document, rules);
  return found.violations
    .filter(v => ['serious', 'critical'].includes(v.impact))
    .flatMap(v => v.nodes.map(n => `${v.id}: ${n.target.join(' ')}: ${n.html.slice(0, 120)}`));
}"""


def findings(page: Any, selector: str | None = None) -> list[str]:
    """Serious and critical faults within `selector` (default: the whole page), one line each."""
    if not page.evaluate("() => 'axe' in window"):
        page.evaluate(_axe())
    return page.evaluate(_RUN, selector)


@lru_cache
def _axe() -> str:
    """The script itself, from the installed package that carries it."""
    spec = find_spec("axe_playwright_python")
    assert spec is not None
    assert spec.origin is not None
    return (Path(spec.origin).parent / "axe.min.js").read_text(encoding="utf-8")
