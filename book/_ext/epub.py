"""Sphinx extension: an EPUB without scripts, in which mathematics is drawn.

Sphinx's builder makes the book; what it made is then gone through once. Every formula is set as SVG
by the MathJax of the wheel, in Chromium; scripts and what needs them are left out, what was folded
is open, and every page is well-formed XML.
"""

import json
import os
import re
import shutil
import subprocess
import tempfile
import zipfile
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from bs4 import BeautifulSoup, Doctype, ProcessingInstruction, Tag
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
MATHJAX = files("sphinx-mathjax-offline") / "static" / "mathjax" / "tex-svg-full.js"

LIFELESS = (
    "script, button, input, select, textarea, canvas, form, label, noscript, a.headerlink, "
    ".live-only"
)
"""What a page without scripts has no use for."""

STYLES = {"epub.css", "pygments.css", "epub-book.css"}
"""Of the pages; others are for screens with a theme, or these, whose rules for print hold here."""

STYLES_OF_STILLS = {"digits.css", "draw-a-digit.css", "first-screen.css", "self-pruning.css"}

CAPITALS = {
    name.lower(): name
    for name in [
        "clipPath",
        "clipPathUnits",
        "foreignObject",
        "gradientTransform",
        "gradientUnits",
        "linearGradient",
        "markerHeight",
        "markerWidth",
        "patternContentUnits",
        "patternTransform",
        "patternUnits",
        "preserveAspectRatio",
        "radialGradient",
        "refX",
        "refY",
        "textLength",
        "textPath",
        "viewBox",
    ]
}
"""Names of SVG; HTML does not care how they are written."""

Formula = tuple[str, bool]
"""TeX, and whether it is displayed."""

PAGE = """<!doctype html><meta charset="utf-8"><body><script>
const formulas = {formulas};
MathJax = {{
  tex: {tex}, svg: {{fontCache: "none"}}, options: {{enableAssistiveMml: false}},
  startup: {{typeset: false, ready() {{
    MathJax.startup.defaultReady();
    MathJax.startup.promise.then(() => {{
      const drawn = formulas.map(([tex, display]) => {{
        const svg = MathJax.tex2svg(tex, {{display}}).querySelector("svg");
        const wrong = svg.querySelector("[data-mml-node=merror], [fill=red]") !== null;
        for (const part of [svg, ...svg.querySelectorAll("*")])
          for (const name of part.getAttributeNames())
            if (/^(focusable|aria-hidden|data-.*)$/.test(name)) part.removeAttribute(name);
        return wrong ? null : new XMLSerializer().serializeToString(svg);
      }});
      const found = document.createElement("pre");
      found.textContent = JSON.stringify(drawn);
      document.body.replaceChildren(found);
    }});
  }}}},
}};
</script><script src="{mathjax}"></script>"""


def typeset(formulas: list[Formula], tex: Mapping[str, Any]) -> dict[Formula, str]:
    """Each formula as an SVG element in the colour and size of the text around it.

    Args:
        formulas: all of them.
        tex: MathJax's settings for TeX, such as macros.
    """
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        raise ExtensionError("the EPUB needs Chromium (Debian: apt install chromium)")
    listed = json.dumps(formulas).replace("</", "<\\/")
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder, "formulas.html")
        mathjax = Path(str(MATHJAX)).as_uri()
        text = PAGE.format(formulas=listed, tex=json.dumps(tex), mathjax=mathjax)
        page.write_text(text, encoding="utf-8")
        command = [browser, "--headless", "--disable-gpu", f"--user-data-dir={folder}/browser"]
        command += ["--no-sandbox"] if os.geteuid() == 0 else []
        command += ["--virtual-time-budget=600000", "--dump-dom", page.as_uri()]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = BeautifulSoup(done.stdout, "html.parser").find("pre")
    if found is None:
        raise ExtensionError(f"MathJax set nothing; Chromium said: {done.stderr[-500:]}")
    drawn = json.loads(found.get_text())
    wrong = [formula for formula, svg in zip(formulas, drawn, strict=True) if svg is None]
    if wrong:
        raise ExtensionError(f"MathJax cannot set this TeX: {wrong[0][0]}")
    return {
        formula: svg.replace("<svg ", f'<svg aria-label="{_attribute(formula[0])}" ', 1)
        for formula, svg in zip(formulas, drawn, strict=True)
    }


def _attribute(text: str) -> str:
    for sign, name in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&quot;")):
        text = text.replace(sign, name)
    return " ".join(text.split())


def parse(page: bytes) -> BeautifulSoup:
    """A page of the book, whatever of HTML its notebooks' outputs hold."""
    soup = BeautifulSoup(page, "html.parser")
    for node in [n for n in soup.contents if isinstance(n, Doctype | ProcessingInstruction)]:
        node.extract()
    return soup


def restore(soup: BeautifulSoup) -> None:
    """Make the drawings of a page SVG by the rules of XML, too."""
    for svg in soup.select("svg"):
        svg["xmlns"] = "http://www.w3.org/2000/svg"
        for element in [svg, *svg.find_all(True)]:
            element.name = CAPITALS.get(element.name, element.name)
            element.attrs = {CAPITALS.get(k, k): v for k, v in element.attrs.items()}


def as_printed(style: str) -> str:
    """Rules for paper are for everywhere, and pages have no ``article``."""
    return re.sub(r"\barticle\s+", "", style.replace("@media print", "@media all"))


def formulas_of(soup: BeautifulSoup) -> list[tuple[Tag, Formula]]:
    """The elements of a page that hold TeX, and what they hold."""
    found = []
    for element in soup.select(".math"):
        texts = [t for t in element.find_all(string=True) if t.find_parent(class_="eqno") is None]
        text = "".join(texts).strip()
        found.append((element, (_bare(text), element.name == "div")))
    return found


def _bare(text: str) -> str:
    """TeX without its marks."""
    for start, end in (("\\(", "\\)"), ("\\[", "\\]"), ("$$", "$$"), ("$", "$")):
        if text.startswith(start) and text.endswith(end):
            return text[len(start) : -len(end)].strip()
    return text


def without_scripts(soup: BeautifulSoup) -> None:
    """Leave out what does nothing on paper, and open what is folded."""
    for element in soup.select(LIFELESS):
        element.decompose()
    for link in soup.select('link[rel="stylesheet"]'):
        if Path(str(link["href"])).name not in STYLES | STYLES_OF_STILLS:
            link.decompose()
    for element in soup.select("details"):
        element["open"] = "open"
    for link in soup.select("a[href]"):  # of notebooks' outputs, which know the book's pages
        link["href"] = re.sub(r"^([\w-]+)\.html(?=#|$)", r"\1.xhtml", str(link["href"]))
    names: set[str] = set()
    for element in soup.select("[id]"):
        if element["id"] in names:  # every proof of a page has the same
            del element["id"]
        else:
            names.add(str(element["id"]))
    for element in soup.find_all(True):
        for name in [name for name in element.attrs if name.startswith("on")]:
            del element[name]


def write(soup: BeautifulSoup, drawn: Mapping[Formula, str]) -> str:
    """The page as XML, with its formulas drawn."""
    drawings = {}
    for element, formula in formulas_of(soup):
        number = element.find(class_="eqno")
        mark = f"\ue000{len(drawings)}\ue001"
        drawings[mark] = drawn[formula]
        element.clear()
        if isinstance(number, Tag):
            element.append(number)
        element.append(mark)
    text = soup.decode(formatter="minimal")
    text = re.sub("\ue000\\d+\ue001", lambda mark: drawings[mark[0]], text)
    text = '<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE html>\n' + text.strip() + "\n"
    ElementTree.fromstring(text)  # or raise: a reader would show nothing
    return text


def with_properties(manifest: str, drawn_on: Iterable[str]) -> str:
    """The manifest, which says of a page with drawings that it has some."""
    for name in drawn_on:
        item = rf'(href="{re.escape(name)}"[^>]*?) ?/>'
        manifest = re.sub(item, r'\1 properties="svg"/>', manifest)
    return manifest


def finish(app: Sphinx, error: Exception | None) -> None:
    """Go through what the builder made."""
    if error is not None or app.builder.name != "epub":
        return
    finish_file(
        Path(app.outdir, f"{app.config.epub_basename}.epub"), app.config.mathjax3_config["tex"]
    )


def finish_file(path: Path, tex: Mapping[str, Any]) -> None:
    """The same, of a file."""
    with zipfile.ZipFile(path) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    pages = {name: parse(text) for name, text in members.items() if name.endswith(".xhtml")}
    found: dict[str, list[Formula]] = {}
    for name, soup in pages.items():
        without_scripts(soup)
        restore(soup)
        found[name] = [formula for _, formula in formulas_of(soup)]
    every = list(dict.fromkeys(formula for formulas in found.values() for formula in formulas))
    drawn = typeset(every, tex)
    for name, soup in pages.items():
        members[name] = write(soup, drawn).encode()
    drawn_on = [name for name, soup in pages.items() if found[name] or soup.find("svg")]
    members["content.opf"] = with_properties(members["content.opf"].decode(), drawn_on).encode()
    for name in members:
        if Path(name).name in STYLES_OF_STILLS:
            members[name] = as_printed(members[name].decode()).encode()
    linked = set(re.findall(r'href="([^"]+)"', members["content.opf"].decode()))
    partial = path.with_suffix(".partial")
    with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("mimetype", members.pop("mimetype"), zipfile.ZIP_STORED)
        for name, content in members.items():
            if name in linked or name.startswith("META-INF/") or name == "content.opf":
                archive.writestr(name, content)
    partial.replace(path)


def name_it(app: Sphinx, config: Any) -> None:
    """What Jupyter Book leaves open: the builder warns without a version."""
    config.version = version("pruning-core")
    config.epub_title = config.html_title


def setup(app: Sphinx) -> dict[str, Any]:
    """Register for the end of the build."""
    app.connect("config-inited", name_it)
    app.connect("build-finished", finish)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
