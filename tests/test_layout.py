"""The arrows between the parts of the package, read from the imports: they run one way."""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src"
PACKAGE = SOURCE / "pruning_core"
FOLDERS = sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py"))
COMMAND_LINE = {"cli", "console", "__main__"}
CORE = sorted(path.name for path in PACKAGE.glob("*.py") if path.stem not in COMMAND_LINE)

ALLOWED = {
    "theory": {"baselines"},
    "baselines": set[str](),
    "experiments": {"baselines"},
    "studies": {"baselines", "experiments"},
    "figures": {"baselines", "experiments", "studies", "theory"},
    "explorers": {"baselines", "experiments", "figures", "studies", "theory"},
    "widgets": {"baselines", "experiments", "explorers", "figures", "studies", "theory"},
}
"""Other folders that each may import from, beside the core."""


def parts_imported(module: Path) -> set[str]:
    """Parts of the package that a module imports from, wherever in it: folders, or core modules."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(module.read_text(encoding="utf8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} has a relative import"
            if node.module == "pruning_core":
                names |= {f"pruning_core.{alias.name}" for alias in node.names}
            else:
                names.add(str(node.module))
    return {name.split(".")[1] for name in names if name.startswith("pruning_core.")}


def test_every_folder_has_its_rule() -> None:
    assert sorted(ALLOWED) == FOLDERS
    assert len(CORE) > 10


@pytest.mark.parametrize("name", CORE)
def test_the_core_imports_from_no_folder_nor_the_command_line(name: str) -> None:
    assert not parts_imported(PACKAGE / name) & {*FOLDERS, *COMMAND_LINE}


@pytest.mark.parametrize("name", CORE)
def test_no_import_of_the_core_hides_in_a_function(name: str) -> None:
    tree = ast.parse((PACKAGE / name).read_text(encoding="utf8"))
    functions = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    hidden = [
        ast.unparse(node)
        for function in functions
        for node in ast.walk(function)
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("pruning_core")
    ]
    assert hidden == []


@pytest.mark.parametrize("folder", sorted(ALLOWED))
def test_a_folder_imports_from_those_below_it_alone(folder: str) -> None:
    for module in sorted((PACKAGE / folder).rglob("*.py")):
        above = parts_imported(module) & {*FOLDERS, "cli"} - {folder}
        assert above <= ALLOWED[folder], module.relative_to(SOURCE)


def test_methods_and_callbacks_know_the_run_and_not_its_loop() -> None:
    experiments = PACKAGE / "experiments"
    below = [*(experiments / "methods").glob("*.py"), experiments / "callbacks.py"]
    below += [experiments / name for name in ("run.py", "settings.py", "kinds.py", "data.py")]
    for module in below:
        text = module.read_text(encoding="utf8")
        assert "experiments.loop" not in text, module.name
        assert "TYPE_CHECKING" not in text, module.name


def test_no_modules_import_each_other_in_a_circle() -> None:
    """Imports for types alone count too: who reads one of two would have to read both."""
    arrows: dict[str, set[str]] = {}
    for module in PACKAGE.rglob("*.py"):
        if module.name == "__init__.py":
            continue
        name = ".".join(module.relative_to(SOURCE).with_suffix("").parts)
        arrows[name] = set()
        for node in ast.walk(ast.parse(module.read_text(encoding="utf8"))):
            if isinstance(node, ast.ImportFrom) and node.module is not None:
                arrows[name].add(node.module)
                arrows[name] |= {f"{node.module}.{alias.name}" for alias in node.names}
    left = {name: names & arrows.keys() for name, names in arrows.items()}
    while below := [name for name, names in left.items() if not names]:
        left = {name: names - {*below} for name, names in left.items() if name not in below}
    assert left == {}
