"""A small Sphinx project, for the tests of the book's extensions."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]

CONFIG = """\
import sys
sys.path.insert(0, {extensions!r})
extensions = ["myst_parser", *{names!r}]
myst_enable_extensions = ["dollarmath", "amsmath", "colon_fence", "deflist"]
html_static_path = [{static!r}]
html_theme = {theme!r}
html_copy_source = False
{more}
"""


class ScratchBook:
    """Pages built to HTML by a Sphinx of their own.

    Args:
        folder: to write and build them in.
        extensions: names of modules of book/_ext, or others.
        pages: MyST text by name.
        theme: of the pages.
        more: lines of conf.py.

    Raises:
        RuntimeError: with what Sphinx said, where it warned or failed.
    """

    def __init__(
        self,
        folder: Path,
        extensions: list[str],
        pages: dict[str, str],
        theme: str = "sphinx_book_theme",
        more: str = "",
    ) -> None:
        self.html = folder / "html"
        source = folder / "source"
        source.mkdir()
        book = ROOT / "book"
        text = CONFIG.format(
            extensions=str(book / "_ext"),
            names=extensions,
            static=str(book / "_static"),
            theme=theme,
            more=more,
        )
        (source / "conf.py").write_text(text, encoding="utf-8")
        listed = "\n".join(pages)
        (source / "index.md").write_text(f"# Book\n\n```{{toctree}}\n{listed}\n```\n", "utf-8")
        for name, page in pages.items():
            (source / f"{name}.md").write_text(page, encoding="utf-8")
        command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", source, self.html]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(done.stderr)

    def page(self, name: str) -> str:
        """The HTML of a page."""
        return (self.html / f"{name}.html").read_text(encoding="utf-8")

    def address(self, name: str) -> str:
        """For a browser."""
        return (self.html / f"{name}.html").as_uri()
