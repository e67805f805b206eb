"""The README lists every lab that has a source."""

from .conftest import SOLUTIONS, labs


def test_the_readme_links_every_lab() -> None:
    text = (SOLUTIONS.parent / "README.md").read_text(encoding="utf-8")
    for name in labs():
        assert f"(labs/{name}/{name}.ipynb)" in text, name
