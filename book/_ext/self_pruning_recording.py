"""What stands in the page of `self_pruning` where nothing runs: a run of the worker's own code.

    python book/_ext/self_pruning_recording.py

lets it train in Chromium, and writes ``self_pruning.json``.
"""

import json
import shutil
from typing import Any

from self_pruning import DEFAULTS, LEVELS, RECORDED, WORKER, digits, text_of

STEPS = 3_000
"""Twenty seconds of a slow machine."""


def train(page: Any, statements: str, **settings: Any) -> Any:
    """What a function of JavaScript returns that gets a new ``trainer``.

    Args:
        page: of playwright; the worker's source is added to it.
        statements: of the function.
        settings: that differ from ``DEFAULTS``.
    """
    images, labels = digits()
    page.goto("about:blank")
    page.add_script_tag(content=WORKER.read_text(encoding="utf-8"))
    bytes_of = "text => Uint8Array.from(atob(text), character => character.charCodeAt(0))"
    begin = f"const trainer = new Trainer(...data.map({bytes_of}), settings);"
    return page.evaluate(
        f"([data, settings]) => {{ {begin} {statements} }}",
        [[text_of(images * (255 // LEVELS)), text_of(labels)], {**DEFAULTS, **settings}],
    )


def record(page: Any, seed: int = DEFAULTS["seed"]) -> dict[str, Any]:
    """What has come of the network after ``STEPS`` steps, numbers rounded.

    Args:
        page: of playwright.
        seed: of all that is drawn.
    """
    steps = f"while (trainer.steps < {STEPS}) trainer.step();"
    found = """
        const numbers = (_, value) => ArrayBuffer.isView(value) ? [...value]
            : Number.isFinite(value) && value % 1 ? Number(value.toPrecision(4)) : value;
        return JSON.parse(JSON.stringify(trainer.look(), numbers));"""
    return train(page, steps + found, seed=seed)


def main() -> None:
    """Write ``RECORDED`` again."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        found = record(browser.new_page())
    fresh = RECORDED.with_suffix(".tmp")
    fresh.write_text(json.dumps(found, separators=(",", ":")) + "\n", encoding="utf-8")
    fresh.replace(RECORDED)


if __name__ == "__main__":
    main()
