"""Numbers and what belongs to them, kept on one line."""

from __future__ import annotations

import re

_UNITS = "%|×|points|seeds|nats|epochs|zeros|MACs|runs"
_TIED = re.compile(
    rf"(?<=[\d\]∞]) (?=(?:{_UNITS}|±)(?!\w))|(?<=[≤≥±=]) (?=[\d−∞])|(?<=\S) (?=[≤≥])"
)


def tied(text: str) -> str:
    """The text with no-break spaces between numbers, their units, intervals and relations."""
    return _TIED.sub("\N{NO-BREAK SPACE}", text)
