"""The wheel in an environment of its own, far from the repository, with what it requires alone."""

import os
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from pruning_core.experiments.data import FILES

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf8"))["project"]
UV = Path(sys.executable).with_name("uv")

pytestmark = pytest.mark.slow


def required(*extras: str) -> set[str]:
    """The distributions that the package needs with these extras, to the last of them."""
    wanted = [*PROJECT["dependencies"]]
    for extra in extras:
        wanted += PROJECT["optional-dependencies"][extra]
    names: set[str] = set()
    while wanted:
        need = Requirement(wanted.pop())
        if need.marker is not None and not need.marker.evaluate({"extra": ""}):
            continue
        if canonicalize_name(need.name) not in names:
            names.add(canonicalize_name(need.name))
            wanted += distribution(need.name).requires or []
    return names


class Installed:
    """A virtual environment with the wheel in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        source = folder / "source"
        source.mkdir()
        for name in ("pyproject.toml", "README.md", "LICENSE", "MANIFEST.in"):
            shutil.copy(ROOT / name, source)
        ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
        shutil.copytree(ROOT / "src", source / "src", ignore=ignored)
        # The source distribution first, and the wheel from nothing but that.
        uv("build", "--no-build-isolation", "--python", sys.executable, source)
        uv("venv", "--python", Path(sys.executable).resolve(), folder / "venv")
        (wheel,) = (source / "dist").glob("*.whl")
        uv("pip", "install", "--no-deps", "--python", self.program("python"), wheel)
        (self.site,) = (folder / "venv" / "lib").glob("python*/site-packages")
        self.add(required())

    def add(self, names: set[str]) -> None:
        """Install distributions by linking what this environment has of them."""
        for name in names:
            for file in distribution(name).files or []:
                top = self.site / file.parts[0]
                if file.parts[0] != ".." and not os.path.lexists(top):
                    top.symlink_to(Path(str(distribution(name).locate_file(file.parts[0]))))

    def program(self, name: str) -> Path:
        return self.folder / "venv" / "bin" / name

    def run(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        """Whatever command, in an empty folder, by somebody without a home."""
        work = self.folder / "work"
        work.mkdir(exist_ok=True)
        hidden = ("PYTHONPATH", "VIRTUAL_ENV")
        environment = {key: value for key, value in os.environ.items() if key not in hidden}
        command = [str(self.program(str(arguments[0]))), *map(str, arguments[1:])]
        return subprocess.run(
            command,
            cwd=work,
            env=environment | {"HOME": str(self.folder / "home")},
            capture_output=True,
            text=True,
            check=False,
        )


def uv(*arguments: object) -> None:
    command = [str(UV), *map(str, arguments), "--offline", "--quiet"]
    subprocess.run(command, check=True, capture_output=True, text=True)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    return Installed(tmp_path_factory.mktemp("wheel"))


def test_a_run_trains_and_is_evaluated(installed: Installed, mnist_folder: Path) -> None:
    flags = ["--method", "dense", "--epochs", "1", "--batch-size", "500", "--data", mnist_folder]
    trained = installed.run("pruning-core", "train", "lenet-300-100", *flags)
    assert (trained.returncode, trained.stderr) == (0, "")
    assert trained.stdout.endswith("written to runs/lenet-300-100-dense-0\n")
    evaluated = installed.run(
        "python", "-m", "pruning_core", "evaluate", "runs/lenet-300-100-dense-0",
        "--data", mnist_folder,
    )  # fmt: skip
    assert (evaluated.returncode, evaluated.stderr) == (0, "")


SEVERAL = """if True:
    import sys
    from pruning_core.cli import main
    for call in sys.argv[1:]:
        print(call, main(call.split()), file=sys.stderr)
    assert not [m for m in sys.modules if m.partition(".")[0] in ("scipy", "pandas", "matplotlib")]
    for part in ("explorers", "figures", "widgets"):
        try:
            __import__(f"pruning_core.{part}")
        except ImportError as error:
            print(part, error, file=sys.stderr)
"""


def test_what_is_missing_is_told_in_a_line(installed: Installed) -> None:
    calls = ["train lenet-5", "study list", "study show reproduce", "ledger"]
    told = installed.run("python", "-c", SEVERAL, *calls).stderr.splitlines()
    assert len(told) == 2 * len(calls) + 3, told
    lines = dict(zip(told[1:8:2], told[0:8:2], strict=True))
    assert set(lines) == {f"{call} 2" for call in calls}
    for call in calls[1:]:
        assert "pip install 'pruning-core[studies]' brings what this" in lines[f"{call} 2"]
    assert "torchvision is not installed; pip install 'pruning-core[data]'" in told[0]
    assert f"--data DIR reads a folder of the four files {', '.join(FILES)}" in told[0]
    for part, line in zip(("explorers", "figures", "widgets"), told[-3:], strict=True):
        assert line.startswith(f"{part} ")
        assert line.endswith("pip install 'pruning-core[book]' brings what this needs")


def test_with_its_extra_the_record_is_found_by_its_folder(installed: Installed) -> None:
    installed.add(required("studies"))
    for command in (["ledger"], ["study", "list"]):
        here = installed.run("pruning-core", *command)
        assert here.returncode == 2
        assert here.stderr.count("\n") == 1
        assert "--root" in here.stderr
        there = installed.run("pruning-core", *command, "--root", ROOT)
        assert (there.returncode, there.stderr) == (0, "")
        assert "reproduce" in there.stdout or "HOLDS" in there.stdout.upper()
