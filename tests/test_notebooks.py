"""The notebooks as committed: run from top to bottom, sound, light, fit to be checked by nbval."""

import itertools
import re
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "book").glob("*.ipynb"))


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def path(request: pytest.FixtureRequest) -> Path:
    return request.param


@pytest.fixture
def cells(path: Path) -> list[NotebookNode]:
    """The code cells of the notebook."""
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def tags(cell: NotebookNode) -> list[str]:
    return cell.metadata.get("tags", [])


def test_there_are_notebooks() -> None:
    assert NOTEBOOKS


def test_it_has_run_once_from_top_to_bottom(cells: list[NotebookNode]) -> None:
    counts = [cell.execution_count for cell in cells]
    assert counts == list(range(1, len(cells) + 1)), "run make notebooks"


def test_no_output_is_an_error_or_a_warning(cells: list[NotebookNode]) -> None:
    outputs = [output for cell in cells for output in cell.outputs]
    assert [o.ename for o in outputs if o.output_type == "error"] == []
    assert [o.text for o in outputs if o.get("name") == "stderr"] == []


def test_nbval_has_something_to_compare(cells: list[NotebookNode]) -> None:
    checked = [cell for cell in cells if "nbval-check-output" in tags(cell)]
    assert len(checked) >= 3, "fewer than three cells are tagged nbval-check-output"
    for cell in checked:
        assert cell.outputs, f"nothing to compare:\n{cell.source}"


def test_it_has_three_exercises_with_hidden_solutions(path: Path) -> None:
    cells = nbformat.read(path, as_version=4).cells
    text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    exercises = re.findall(r"\{exercise-start\}[^\n]*\n:label: (\S+)", text)
    solutions = re.findall(r"\{solution-start\} (\S+)\n:class: dropdown", text)
    assert len(exercises) >= 3
    assert solutions == exercises


def test_it_ends_with_three_questions_and_graded_exercises(path: Path) -> None:
    cells = nbformat.read(path, as_version=4).cells
    text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    _, _, end = text.partition("\n## Check yourself\n")
    questions, _, exercises = end.partition("\n## Exercises\n")
    assert len(re.findall(r"^(?:```|~~~)\{question\} \S", questions, flags=re.M)) == 3
    titles = re.findall(r"^```\{exercise-start\}(.*)", exercises, flags=re.M)
    assert titles
    for title in titles:
        assert re.search(r"\S · (easy|moderate|hard|open)$", title), title


def test_no_page_prints_that_something_is_true(cells: list[NotebookNode]) -> None:
    for cell in cells:
        if {"remove-cell", "remove-output"}.isdisjoint(tags(cell)):
            shown = "".join(o.get("text", "") for o in cell.outputs)
            assert not re.search(r": (True|False)\b", shown), cell.source


def test_every_figure_has_a_caption_and_is_referred_to_by_number(
    path: Path, cells: list[NotebookNode]
) -> None:
    text = path.read_text(encoding="utf-8")
    for cell in cells:
        kinds = {kind for output in cell.outputs for kind in output.get("data", {})}
        shown = {"remove-output", "remove-cell"}.isdisjoint(tags(cell))
        if not shown or not any(kind.startswith("image/") for kind in kinds):
            continue
        figure = cell.metadata.get("mystnb", {}).get("figure", {})
        assert len(figure.get("caption", "").split()) >= 5, f"no caption:\n{cell.source}"
        assert figure["name"].startswith("fig-")
        assert f"{{numref}}`{figure['name']}`" in text, f"nothing refers to {figure['name']}"


def test_every_figure_has_a_text_alternative(cells: list[NotebookNode]) -> None:
    for cell in cells:
        kinds = {kind for output in cell.outputs for kind in output.get("data", {})}
        if "remove-output" in tags(cell) or not any(kind.startswith("image/") for kind in kinds):
            continue
        alternative = cell.metadata.get("mystnb", {}).get("image", {}).get("alt", "")
        assert len(alternative.split()) >= 4, f"no text alternative:\n{cell.source}"


def test_it_is_light_enough_to_read_and_to_keep(path: Path, cells: list[NotebookNode]) -> None:
    assert path.stat().st_size < 300_000
    for cell in cells:
        assert cell.source.count("\n") < 30, f"over 30 lines:\n{cell.source}"


def test_it_runs_from_any_folder(cells: list[NotebookNode]) -> None:
    for cell in cells:
        assert '"..' not in cell.source, f"a path from the present folder:\n{cell.source}"


def test_it_remembers_neither_the_machine_nor_the_hour(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    assert notebook.metadata.kernelspec.name == "python3"
    assert not any("execution" in cell.metadata for cell in notebook.cells), "times of execution"
    assert not re.search(r"ipykernel_\d+", path.read_text(encoding="utf8"))


def test_no_line_of_a_paragraph_begins_like_a_list_or_a_quotation(path: Path) -> None:
    """A number or a minus that was wrapped to the start of a line would become one."""
    for cell in nbformat.read(path, as_version=4).cells:
        other = r"^(```|~~~|\$\$).*?^\1|^:::\{list-table\}.*?^:::"
        prose = re.sub(other, "", cell.source, flags=re.M | re.S)
        lines = prose.splitlines() if cell.cell_type == "markdown" else []
        for before, line in itertools.pairwise(lines):
            if not re.match(r" *([-+*>=]|1\.) ", line) or not before.strip():
                continue
            deeper = len(before) - len(before.lstrip()) - (len(line) - len(line.lstrip()))
            sibling = deeper == 0 and re.match(r" *([-+*>:]|\d+\.)", before)
            assert deeper > 0 or sibling, line


def test_the_first_chapter_was_timed_on_an_idle_machine() -> None:
    """Nothing changes from one dense epoch to the next, so that its line of seconds is level."""
    cells = nbformat.read(ROOT / "book" / "a-network-that-prunes-itself.ipynb", as_version=4).cells
    text = "".join(o.get("text", "") for c in cells for o in c.get("outputs", []))
    found = re.search(r"dense epochs after the first: ([\d.]+) to ([\d.]+) s", text)
    assert found, text
    assert float(found[2]) / float(found[1]) < 1.3, "run the chapter again, with nothing beside it"
