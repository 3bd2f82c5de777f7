"""The playground in a real JupyterLab: a kernel behind it, and a browser in front."""

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from playwright.sync_api import Browser, Locator, Page, expect

ROOT = Path(__file__).parents[1]
PATIENCE = 300_000  # milliseconds until a state that does not come is an error
OVERRIDES: dict[str, dict[str, Any]] = {
    # A cell out of sight would otherwise not be in the page.
    "@jupyterlab/notebook-extension/tracker": {"windowingMode": "none"},
    "@jupyterlab/apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
}

# The menu has this command too, but does nothing while the kernel is not there yet.
RUN_ALL = """async () => {
    await jupyterapp.restored;
    const {context, sessionContext} = jupyterapp.shell.currentWidget;
    await context.ready;
    await sessionContext.ready;
    await jupyterapp.commands.execute("notebook:run-all-cells");
}"""

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture(scope="module")
def notebook(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the playground that has never run."""
    path = tmp_path_factory.mktemp("lab") / "book" / "playground.ipynb"
    path.parent.mkdir()
    content = nbformat.read(ROOT / "book" / path.name, as_version=4)
    for cell in content.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    nbformat.write(content, path)
    return path


@pytest.fixture(scope="module")
def server(notebook: Path) -> Iterator[str]:
    """The address of a JupyterLab that serves the folder of the notebook."""
    home = notebook.parents[1] / "home"
    for name, values in OVERRIDES.items():
        path = home / "settings" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values), encoding="utf8")
    own = {
        "JUPYTER_CONFIG_DIR": "config",
        "JUPYTER_DATA_DIR": "data",
        "JUPYTER_RUNTIME_DIR": "runtime",
        "JUPYTERLAB_SETTINGS_DIR": "settings",
        "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
        "IPYTHONDIR": "ipython",
    }
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with (notebook.parents[1] / "server.log").open("wb") as log:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"),
                "--expose-app-in-browser",
                *("--ServerApp.ip=127.0.0.1", f"--ServerApp.port={port}"),
                "--IdentityProvider.token=test",
                f"--ServerApp.root_dir={notebook.parent}",
            ],
            env=os.environ | {name: str(home / folder) for name, folder in own.items()},
            stdout=log,
            stderr=log,
        )
    try:
        # Another port, if somebody was quicker to take this one.
        while not (found := list((home / "runtime").glob(f"jpserver-{process.pid}.json"))):
            assert process.poll() is None, Path(log.name).read_text(encoding="utf8")
            time.sleep(0.1)
        yield json.loads(found[0].read_text(encoding="utf8"))["url"]
    finally:
        process.terminate()
        process.wait()


@pytest.fixture(scope="module")
def lab(browser: Browser, server: str, notebook: Path) -> Iterator[Page]:
    """The notebook in JupyterLab, after every cell has run."""
    page = browser.new_page(viewport={"width": 1280, "height": 1000})
    page.set_default_timeout(PATIENCE)
    page.goto(f"{server}lab/tree/{notebook.name}?token=test&reset")
    page.wait_for_function("window.jupyterapp?.shell.currentWidget?.sessionContext")
    page.evaluate(RUN_ALL)
    yield page
    page.context.close()


@pytest.fixture
def live(lab: Page) -> Locator:
    """The panel that trains."""
    return lab.locator(".widget-vbox").filter(has=lab.get_by_role("button", name="Stop"))


def slider(controls: Locator, label: str) -> Locator:
    return controls.locator(".widget-hslider").filter(has_text=label).get_by_role("slider")


def status(live: Locator, pattern: str) -> str:
    """What the panel says of its run, as soon as that begins like this, or the run has failed."""
    found = live.get_by_role("status").filter(has_text=re.compile(f"^({pattern}|failed)"))
    found.wait_for()
    return found.inner_text()


def test_every_cell_runs_without_an_error(lab: Page, notebook: Path) -> None:
    cells = nbformat.read(notebook, as_version=4).cells
    prompts = lab.locator(".jp-CodeCell .jp-InputPrompt").all_inner_texts()
    count = sum(cell.cell_type == "code" for cell in cells)
    assert prompts == [f"[{number}]:" for number in range(1, count + 1)]
    assert lab.locator("[data-mime-type='application/vnd.jupyter.stderr']").all_inner_texts() == []


def test_a_slider_changes_the_picture_of_its_explorer(lab: Page) -> None:
    panels = lab.locator(".widget-vbox:has(img)").filter(has_not=lab.get_by_role("button"))
    assert panels.count() >= 4
    for panel in panels.all():
        picture = panel.locator("img")
        before = picture.get_attribute("src")
        assert before is not None
        panel.get_by_role("slider").first.press("ArrowRight")
        expect(picture).not_to_have_attribute("src", before, timeout=PATIENCE)


def test_a_run_that_is_stopped_keeps_what_it_has_learned(live: Locator) -> None:
    live.get_by_label("method").select_option("bernoulli")
    slider(live, "epochs").press("End")
    live.get_by_role("button", name="Start").click()
    status(live, "training: epoch 1 of 100")
    live.get_by_role("button", name="Pause").click()
    status(live, "pausing")
    live.get_by_role("button", name="Go on").click()
    status(live, "training: epoch [1-9]")
    live.get_by_role("button", name="Stop").click()
    said = status(live, "stopped")
    assert re.match(r"stopped: epoch \d+ of 100, network \d+-\d+-\d+, test error \d+\.\d\d %", said)
    assert live.get_by_role("button", name="Start").is_enabled()
    assert live.get_by_role("button", name="Stop").is_disabled()


def test_two_epochs_train_to_their_end_and_are_drawn(live: Locator) -> None:
    live.get_by_label("method").select_option("dense")
    slider(live, "epochs").press("Home")
    slider(live, "epochs").press("ArrowRight")
    live.get_by_role("button", name="Start").click()
    said = status(live, "finished: epoch 2 of 2, network 784-300-100")
    assert float(said.split("test error ")[1].split(" %")[0]) < 10
    picture = live.locator("img")
    assert picture.get_attribute("alt") == "The run after epoch 2: 784-300-100"
    assert picture.evaluate("image => image.decode().then(() => image.naturalWidth)") > 500
    assert live.get_by_role("alert").count() == 0
