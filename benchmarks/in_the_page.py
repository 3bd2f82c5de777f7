"""Steps a second of the network that trains in the page, in Chromium, full and half as large.

python benchmarks/in_the_page.py    a table, in half a minute

Each number is the best of many short stretches, so that it says what an idle core does.
"""

from __future__ import annotations

import importlib
import os
import shutil
import sys
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

sys.path.insert(0, str(Path(__file__).parents[1] / "book" / "_ext"))
recording = importlib.import_module("self_pruning_recording")

STATES = ("nothing has left", "half of the units have left", "half of the pixels too")


def speeds(page: Page, method: str, stretches: int = 300, steps: int = 10) -> list[float]:
    """Steps a second in each of the ``STATES``.

    Args:
        page: of playwright.
        method: "bernoulli" or "halo".
        stretches: of which the best counts.
        steps: of each.
    """
    statements = f"""
        const best = () => {{
            let least = Infinity;
            for (let stretch = 0; stretch < {stretches}; stretch++) {{
                const start = performance.now();
                for (let step = 0; step < {steps}; step++) trainer.step();
                least = Math.min(least, performance.now() - start);
            }}
            return 1000 * {steps} / least;
        }};
        const odd = count => [...Array(count).keys()].filter(unit => unit % 2);
        const found = [best()];
        trainer.keep(1, odd(64));
        trainer.keep(2, odd(32));
        found.push(best());
        trainer.keep(0, odd(196));
        return [...found, best()];"""
    return recording.train(page, statements, method=method, thetaStep=1e-9)


def main() -> None:
    """Print the table."""
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
    args = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=args)
        for method in ("bernoulli", "halo"):
            found = speeds(browser.new_page(), method)
            for state, speed in zip(STATES, found, strict=True):
                ratio = speed / found[0]
                print(f"{method:10} {state:28} {speed:6.0f} steps a second {ratio:5.2f}")


if __name__ == "__main__":
    main()
