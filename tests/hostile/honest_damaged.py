"""Honest students, damaged notebooks: the points they deserve, and a flag for every repair."""

from __future__ import annotations

import base64
import functools
import json
import textwrap
from typing import Any

from .case import Work, case, zipped

honest = functools.partial(case, "honest")


@honest("everything right", real=True)
def _(work: Work) -> None:
    pass


@honest("half right", others=0.0)
def _(work: Work) -> None:
    for cell in work.other_answers:
        work.stub(cell)


@honest("untouched", guilty=0.0, others=0.0, real=True)
def _(work: Work) -> bytes:
    return work.untouched()


@honest("the test cell was deleted", flags="test-restored", real=True)
def _(work: Work) -> None:
    work.cut(work.check)


@honest("every test cell was deleted", flags="test-restored")
def _(work: Work) -> None:
    for cell in [c for c in work.nb.cells if c.get("id", "").endswith("-check")]:
        work.cut(cell)


@honest("the answer cell was deleted", guilty=0.0, flags="answer-missing", real=True)
def _(work: Work) -> None:
    work.cut(work.answer)


@honest("the answer was pasted twice", flags="answer-duplicated")
def _(work: Work) -> None:
    work.paste(work.answer)
    work.answer.source = work.lab.code(work.lab.wrong)


@honest("the stub was pasted behind the answer", flags="cell-duplicated")
def _(work: Work) -> None:
    work.paste(work.answer, f"{work.lab.signature}\n    raise NotImplementedError()\n")


@honest("the test cell was pasted twice", flags="cell-duplicated", real=True)
def _(work: Work) -> None:
    work.paste(work.check)


@honest("every cell stands twice", flags="cell-duplicated", more_flags=True)
def _(work: Work) -> None:
    for cell in list(work.nb.cells):
        work.paste(cell)


@honest("the answer was split over two cells", flags="answer-joined")
def _(work: Work) -> None:
    head, _, rest = work.answer.source.partition("\n")
    work.paste(work.answer, rest)
    work.answer.source = head


@honest("two answers were merged into one cell", flags="answer-elsewhere")
def _(work: Work) -> None:
    other = work.other_answers[0]
    work.answer.source += f"\n\n{other.source}"
    work.cut(other)


@honest("two answers were merged into the lower cell", flags="answer-elsewhere")
def _(work: Work) -> None:
    below = work.other_answers[-1]
    below.source = f"{work.answer.source}\n\n{below.source}"
    work.cut(work.answer)


@honest("the cells stand in reverse order", flags="", real=True)
def _(work: Work) -> None:
    work.nb.cells.reverse()


@honest("the answer became markdown", flags="kind-changed")
def _(work: Work) -> None:
    work.answer.cell_type = "markdown"


@honest("the answer became raw", flags="kind-changed")
def _(work: Work) -> None:
    work.answer.cell_type = "raw"


@honest("the test cell became markdown", flags="")
def _(work: Work) -> None:
    work.check.cell_type = "markdown"


@honest("another editor stripped all metadata", flags="metadata-lost", real=True)
def _(work: Work) -> None:
    work.nb.metadata = {}
    for cell in work.nb.cells:
        cell.metadata = {}


@honest("another editor stripped metadata and ids", flags="metadata-lost")
def _(work: Work) -> None:
    for number, cell in enumerate(work.nb.cells):
        cell.metadata, cell.id = {}, f"{number:08x}"


@honest("the grade id was renamed", flags="metadata-lost")
def _(work: Work) -> None:
    work.answer.metadata["nbgrader"]["grade_id"] = "my-answer"
    work.answer.id = "mine"


@honest("the kernel is another one", flags="kernel-changed")
def _(work: Work) -> None:
    work.nb.metadata["kernelspec"] = {"name": "ir", "display_name": "R", "language": "R"}


@honest("no kernel is named")
def _(work: Work) -> None:
    work.nb.metadata = {}


@honest("nbformat 3", flags="old-format")
def _(work: Work) -> bytes:
    cells = []
    for cell in work.nb.cells:
        old = {"cell_type": cell.cell_type, "metadata": cell.metadata, "outputs": []}
        old["input" if cell.cell_type == "code" else "source"] = cell.source
        cells.append(old)
    return json.dumps(
        {"nbformat": 3, "nbformat_minor": 0, "metadata": {}, "worksheets": [{"cells": cells}]}
    ).encode()


@honest("cell ids are missing")
def _(work: Work) -> None:
    for cell in work.nb.cells:
        del cell["id"]


@honest("all cell ids are the same")
def _(work: Work) -> None:
    for cell in work.nb.cells:
        cell["id"] = "same"


@honest("warnings and errors on stderr", real=True)
def _(work: Work) -> None:
    work.write(
        "import os, sys, warnings\n"
        "warnings.warn('careful')\nprint('noise', file=sys.stderr)\n"
        "os.write(2, b'from C\\n')\n" + textwrap.dedent(work.lab.right),
        "import warnings; warnings.warn('at the top')",
    )


@honest("a syntax error in a scratch cell")
def _(work: Work) -> None:
    work.add("def broken(:", before=work.answer)


@honest("a scratch cell that fails")
def _(work: Work) -> None:
    work.add("1 / 0", before=work.answer)
    work.add("undefined_name", before=work.check)


@honest("%reset -f at the end", real=True)
def _(work: Work) -> None:
    work.add("%reset -f")


@honest("%reset -f behind the guilty check", others=None)
def _(work: Work) -> None:
    work.add("%reset -f", after=work.check)


@honest("input() in a scratch cell")
def _(work: Work) -> None:
    work.add("name = input('Who are you? ')", before=work.answer)


@honest("a breakpoint was left behind", guilty=None, limits=".*")
def _(work: Work) -> None:
    work.write(f"breakpoint()\n{textwrap.dedent(work.lab.right)}")


@honest("it works only out of order", flags="helper-moved")
def _(work: Work) -> None:
    body = textwrap.dedent(work.lab.right)
    arguments = work.lab.signature.split("(", 1)[1].removesuffix("):")
    names = ", ".join(part.split("=")[0] for part in arguments.split(", "))
    work.write(f"return helper({names})")
    work.add(f"def helper({names}):\n{textwrap.indent(body, '    ')}", after=work.check)


@honest("a helper cell above the answer")
def _(work: Work) -> None:
    work.add("def helper(value):\n    return value", before=work.answer)
    work.write(textwrap.dedent(work.lab.right).replace("return ", "return helper(") + ")")


@honest("its own helper file is missing", guilty=0.0)
def _(work: Work) -> None:
    work.write(work.lab.right, "from my_tools import helper")


@honest("pip install in the answer", flags="install-skipped")
def _(work: Work) -> None:
    work.write(work.lab.right, "!pip install numpy\n%pip install scipy")


@honest("slow but legal")
def _(work: Work) -> None:
    work.write(
        "import time\nend = time.process_time() + 0.2\n"
        "while time.process_time() < end:\n    pass\n" + textwrap.dedent(work.lab.right)
    ) if work.lab.source else work.write(
        "import time\ntime.sleep(0.002)\n" + textwrap.dedent(work.lab.right)
    )


@honest("unseeded randomness")
def _(work: Work) -> None:
    work.write(
        "import random, numpy\nfactor = random.random() + numpy.random.rand() + 1\n"
        "noise = factor - factor\n" + textwrap.dedent(work.lab.right)
    )


@honest("a timestamp that is none", flags="bad-timestamp")
def _(work: Work) -> dict[str, Any]:
    return {f"{work.lab.name}.ipynb": work.bytes(), "timestamp.txt": b"the day after tomorrow"}


@honest("a late timestamp")
def _(work: Work) -> dict[str, Any]:
    return {f"{work.lab.name}.ipynb": work.bytes(), "timestamp.txt": b"2031-01-01 00:00:00 UTC"}


@honest("a renamed notebook", flags="renamed")
def _(work: Work) -> dict[str, Any]:
    return {"homework final v2.ipynb": work.bytes()}


@honest("a browser's copy", flags="renamed")
def _(work: Work) -> dict[str, Any]:
    return {f"{work.lab.name} (1).ipynb": work.bytes()}


@honest("two candidates", flags="several-files renamed")
def _(work: Work) -> dict[str, Any]:
    return {f"{work.lab.name}.ipynb": work.untouched(), f"{work.lab.name} (2).ipynb": work.bytes()}


@honest("a zip of one's own", flags="")
def _(work: Work) -> dict[str, Any]:
    return {"all my work.zip": zipped({f"{work.lab.name}.ipynb": work.bytes()})}


@honest("a name with a comma", student="Chen, Wei")
@honest("a name with quotes", student='Liam "Lee" O\'Brien')
@honest("a Cyrillic name", student="Мария Петрова-Водкина")
@honest("a name with leading zeros", student="007")
@honest("a name with an accent and a star", student="Łucja 🌟 Nguyễn")
@honest("a name that means something to programs", student="--help", flags="id-changed")
@honest("a name with markup", student="[bold red]Eve[bold] {0} %s <b>", flags="id-changed")
def _(work: Work) -> None:
    pass


@honest("Windows line ends")
def _(work: Work) -> None:
    for cell in work.nb.cells:
        cell.source = cell.source.replace("\n", "\r\n")


@honest("a byte order mark")
def _(work: Work) -> bytes:
    return b"\xef\xbb\xbf" + work.bytes()


@honest("texts as lists of lines")
def _(work: Work) -> None:
    for cell in work.nb.cells:
        cell["source"] = cell.source.splitlines(keepends=True)


@honest("20 MB of old outputs")
def _(work: Work) -> None:
    text = "x" * 20_000_000
    work.answer.outputs = [{"output_type": "stream", "name": "stdout", "text": text}]


@honest("a pasted picture of 3 MB")
def _(work: Work) -> None:
    picture = base64.b64encode(bytes(3_000_000)).decode()
    work.written["attachments"] = {"image.png": {"image/png": picture}}


@honest("magics in the answer")
def _(work: Work) -> None:
    work.answer.source = "%matplotlib inline\n%config InlineBackend.figure_format = 'svg'\n" + (
        work.answer.source
    )


@honest("%%time above the answer")
def _(work: Work) -> None:
    work.answer.source = "%%time\n" + work.answer.source


@honest("quit() at the end")
def _(work: Work) -> None:
    work.add("quit()")


@honest("await at the top level")
def _(work: Work) -> None:
    work.add("import asyncio\nawait asyncio.sleep(0)", before=work.answer)


@honest("edited the imports", flags="locked-edited")
def _(work: Work) -> None:
    work.cell("setup").source = "import numpy as np  # I like numpy"


@honest("an open figure and prints")
def _(work: Work) -> None:
    work.write(
        "print('here', locals())\n" + textwrap.dedent(work.lab.right),
        "import matplotlib.pyplot as plt\nplt.plot([1, 2]); plt.show()",
    )


@honest("annotations, globals and a class of one's own")
def _(work: Work) -> None:
    work.write(
        "global calls\ncalls += 1\n" + textwrap.dedent(work.lab.right),
        "from dataclasses import dataclass\ncalls = 0\n\n"
        "@dataclass\nclass Pair:\n    first: int = 0\n    second: 'Pair | None' = None\n",
    )


@honest("a subclass is shown by its own repr")
def _(work: Work) -> None:
    work.add(
        "class Shy:\n    def __repr__(self):\n        raise ValueError('no')\nShy()",
        before=work.answer,
    )
