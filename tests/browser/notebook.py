"""Work a notebook in JupyterLab: open, read and write cells, run, see outputs.

Cells are read and written through JupyterLab's own model (`jupyterapp`), since Lab shows only cells
near the viewport; running and buttons go through the keyboard and the menus, as a student's do.
The status "idle" that Lab shows is not "kernel ready", so readiness is asked of the kernel.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

_READY = """async () => {
  const panel = window.jupyterapp?.shell.currentWidget;
  if (!panel?.context) return false;
  await panel.context.ready;
  await panel.sessionContext.ready;
  const kernel = panel.sessionContext.session?.kernel;
  if (!kernel || kernel.connectionStatus !== 'connected' || kernel.status !== 'idle') return false;
  await kernel.info;
  return true;
}"""

_CELLS = """() => [...window.jupyterapp.shell.currentWidget.content.widgets].map(cell => ({
  id: cell.model.id,
  type: cell.model.type,
  source: cell.model.sharedModel.getSource(),
  count: cell.model.executionCount ?? null,
  outputs: cell.model.outputs ? cell.model.outputs.toJSON() : [],
}))"""

_IDLE = """() => {
  const panel = window.jupyterapp.shell.currentWidget;
  const cells = panel.content.widgets.filter(
    c => c.model.type === 'code' && c.model.sharedModel.getSource().trim());
  const kernel = panel.sessionContext.session?.kernel;
  return kernel?.status === 'idle' && cells.every(c => c.model.executionCount !== null)
    && !cells.some(c => c.model.executionState === 'running');
}"""

_CLEAR = """() => {
  for (const cell of window.jupyterapp.shell.currentWidget.content.widgets)
    if (cell.model.type === 'code') cell.model.clearExecution();
}"""


class Notebook:
    """An open notebook in a page.

    Args:
        page: a Playwright page.
        address: where the notebook opens.
    """

    def __init__(self, page: Any, address: str) -> None:
        self.page = page
        page.goto(address)
        page.wait_for_function("() => window.jupyterapp", timeout=60_000)
        page.wait_for_selector(".jp-NotebookPanel", timeout=60_000)
        page.wait_for_function(_READY, timeout=90_000)

    def cells(self) -> list[dict[str, Any]]:
        """Id, type, source, execution count and outputs of every cell."""
        return self.page.evaluate(_CELLS)

    def cell(self, name: str) -> dict[str, Any]:
        """The cell with this id."""
        return next(cell for cell in self.cells() if cell["id"] == name)

    def run_all(self, seconds: float = 120) -> None:
        """Choose Run All Cells in the menu and wait until the last cell is done."""
        self.page.evaluate(_CLEAR)
        self.page.get_by_role("menuitem", name="Run", exact=True).click()
        self.page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
        self.page.wait_for_function(_IDLE, timeout=seconds * 1000)

    def focus(self, name: str) -> None:
        """Select a cell and scroll to it."""
        self.page.evaluate(
            """async name => {
              const notebook = window.jupyterapp.shell.currentWidget.content;
              notebook.activeCellIndex = notebook.widgets.findIndex(c => c.model.id === name);
              await notebook.scrollToItem(notebook.activeCellIndex, 'center');
            }""",
            name,
        )

    def type_into(self, name: str, text: str) -> None:
        """Replace the text of a cell from the keyboard, as one paste."""
        self.focus(name)
        self.page.keyboard.press("Escape")
        self.page.keyboard.press("Enter")
        self.page.keyboard.press("Control+a")
        self.page.keyboard.insert_text(text)
        self.page.keyboard.press("Escape")

    def save(self) -> None:
        """Save from the keyboard and wait until nothing is unsaved."""
        self.page.keyboard.press("Control+s")
        saved = "() => !window.jupyterapp.shell.currentWidget.context.model.dirty"
        self.page.wait_for_function(saved)

    def errors(self) -> list[str]:
        """The errors that cells ended with."""
        outputs = [output for cell in self.cells() for output in cell["outputs"]]
        return [f"{o['ename']}: {o['evalue']}" for o in outputs if o["output_type"] == "error"]

    def texts(self, name: str) -> str:
        """What a cell shows, as plain text."""
        shown = []
        for output in self.cell(name)["outputs"]:
            shown.append("".join(output.get("text", "")))
            shown.append("".join(output.get("data", {}).get("text/plain", "")))
        return "\n".join(shown)

    def picture(self, path: Path) -> None:
        """Keep a screenshot to look at."""
        path.parent.mkdir(exist_ok=True)
        self.page.screenshot(path=str(path))
