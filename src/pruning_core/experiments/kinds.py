"""Kinds of settings: what each may be, and how it is read and written as a flag, TOML or JSON."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Collection
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

MOST = 1e30
"""The largest number that is taken: float32 ends at 3.4e38, and numbers are added and squared."""

MANY = 10**9
"""The largest whole number that is taken, of a count."""


class Kind(ABC):
    """What a setting may be."""

    @property
    @abstractmethod
    def expected(self) -> str:
        """The type and the range, in words."""

    @abstractmethod
    def holds(self, value: Any) -> bool:
        """Whether a value has the type, and lies in the range."""

    def read(self, plain: Any) -> Any:
        """A value from TOML or JSON as the settings have it.

        Raises:
            ValueError: saying what was expected, if it is of another type.
        """
        if not self.holds(plain):
            raise ValueError(self.expected)
        return plain

    @abstractmethod
    def parse(self, text: str) -> Any:
        """The value that a flag gives.

        Raises:
            ValueError: naming the text and what was expected, if it is of another type.
        """

    def write(self, value: Any) -> str:
        """The text of a flag, of which :meth:`parse` makes the same value, to the last digit."""
        return str(value)

    def check(self, name: str, value: Any) -> None:
        """Raise a ValueError that names a setting whose value is not of this kind."""
        if not self.holds(value):
            raise ValueError(f"{name} is {value!r}; expected {self.expected}")


@dataclass(frozen=True)
class Whole(Kind):
    """A whole number in [low, high]."""

    low: int
    high: int = MANY

    @property
    def expected(self) -> str:
        return f"a whole number from {self.low} to {self.high}"

    def holds(self, value: Any) -> bool:
        whole = isinstance(value, int) and not isinstance(value, bool)
        return whole and self.low <= value <= self.high

    def parse(self, text: str) -> int:
        try:
            return int(text)
        except ValueError as error:
            raise ValueError(f"{text!r} is not a whole number") from error


@dataclass(frozen=True)
class Number(Kind):
    """A finite number in [low, high], without some of the ends; text may be a fraction, as 1/650.

    Args:
        low: one end.
        high: the other end.
        without: the ends that do not belong to it.
        noun: what it is.
        unit: of the number.
    """

    low: float = -MOST
    high: float = MOST
    without: tuple[float, ...] = ()
    noun: str = "number"
    unit: str = ""

    @property
    def expected(self) -> str:
        if self.high < MOST:
            left = "(" if self.low in self.without else "["
            right = ")" if self.high in self.without else "]"
            return f"a {self.noun} in {left}{self.low:g}, {self.high:g}{right}{self.unit}"
        side = "above" if self.low in self.without else "≥"
        return f"a finite {self.noun} {side} {self.low:g}{self.unit}, at most {MOST:g}"

    def holds(self, value: Any) -> bool:
        real = isinstance(value, int | float) and not isinstance(value, bool)
        return real and self.low <= value <= self.high and value not in self.without

    def read(self, plain: Any) -> float:
        if isinstance(plain, str):
            try:
                return self.parse(plain)
            except ValueError as error:
                raise ValueError(f"{self.expected}, or a fraction such as '1/650'") from error
        if not isinstance(plain, int | float) or isinstance(plain, bool):
            raise ValueError(self.expected)
        return float(plain)

    def parse(self, text: str) -> float:
        try:
            value = float(Fraction(text)) if "/" in text else float(text)
        except (ValueError, ArithmeticError) as error:
            raise ValueError(f"{text!r} is not a number or a fraction") from error
        if not math.isfinite(value):
            raise ValueError(f"{text!r} is not a finite number")
        return value

    def write(self, value: float) -> str:
        return repr(float(value))


@dataclass(frozen=True)
class Switch(Kind):
    """True or false."""

    @property
    def expected(self) -> str:
        return "true or false"

    def holds(self, value: Any) -> bool:
        return isinstance(value, bool)

    def parse(self, text: str) -> bool:
        raise ValueError(f"{text!r}: a switch has no value")


@dataclass(frozen=True)
class Choice(Kind):
    """One of some names."""

    names: Collection[str]

    @property
    def expected(self) -> str:
        return f"one of {', '.join(self.names)}"

    def holds(self, value: Any) -> bool:
        return isinstance(value, str) and value in self.names

    def parse(self, text: str) -> str:
        return text

    def read(self, plain: Any) -> str:
        return plain

    def check(self, name: str, value: Any) -> None:
        if not self.holds(value):
            raise ValueError(f"unknown {name} {value!r}; expected {self.expected}")


@dataclass(frozen=True)
class Several(Kind):
    """A tuple of values of one kind; one value alone is understood."""

    each: Kind
    least: int = 0

    @property
    def expected(self) -> str:
        return f"values that are each {self.each.expected}"

    def holds(self, value: Any) -> bool:
        return (
            isinstance(value, tuple)
            and len(value) >= self.least
            and all(self.each.holds(part) for part in value)
        )

    def read(self, plain: Any) -> tuple[Any, ...]:
        parts = plain if isinstance(plain, list) else [plain]
        try:
            return tuple(self.each.read(part) for part in parts)
        except ValueError as error:
            raise ValueError(self.expected) from error

    def parse(self, text: str) -> tuple[Any, ...]:
        try:
            return tuple(self.each.parse(part) for part in text.split(","))
        except ValueError as error:
            raise ValueError(f"{error}, in {text!r}") from error

    def write(self, value: tuple[Any, ...]) -> str:
        return ",".join(self.each.write(part).removesuffix(".0") for part in value)
