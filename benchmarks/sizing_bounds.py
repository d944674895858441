"""What is asked of sizing by attainment, per scenario, and whether it holds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from slaplanner_lab.rivals.compare import Kind

OURS = "sizing Attainment"
PROMISE = 99.0
CEILING_HPA = "HPA at 30 %"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One result as it is printed and kept."""

    kind: Kind
    name: str
    both: float
    ttft: float
    itl: float
    gpu_hours: float
    unscored: float
    moves: int
    runs: int

    @property
    def keeps(self) -> bool:
        return self.both >= PROMISE

    def __str__(self) -> str:
        mark = "*" if self.keeps else " "
        return (
            f"{mark} {self.name:<46} {self.both:6.2f} {self.ttft:6.2f} {self.itl:6.2f} "
            f"{self.gpu_hours:9.2f} {self.unscored:7.2f} {self.moves:6d} {self.runs:5d}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """One claim with its figures. *slack*: what is left of it, as a share of the limit."""

    text: str
    held: bool

    def __str__(self) -> str:
        return f"{'held  ' if self.held else 'MISSED'}  {self.text}"


def bounds(name: str, rows: Sequence[Row]) -> Iterator[Bound]:
    """The bounds of scenario *name*, as far as the rivals that they compare with have run."""
    ours = next((row for row in rows if row.name == OURS), None)
    if ours is None:
        return
    if name == "b":
        yield from _of_bursts(ours, rows)
        return
    yield Bound(text=f"attainment {ours.both:.2f} % >= {PROMISE:g} %", held=ours.keeps)
    clairvoyant, constant, hpa = (
        _cheapest(rows, kind) for kind in (Kind.CLAIRVOYANT, Kind.CONSTANT, Kind.HPA)
    )
    if clairvoyant is not None:
        yield _cost(ours, 1.25, clairvoyant)
    if constant is not None:
        yield _cost(ours, 1.0 if name == "c" else 1.1, constant, below=name == "c")
    if hpa is not None:
        yield _cost(ours, 1.0, hpa, below=True)
    elif any(row.kind is Kind.HPA for row in rows):
        yield Bound(text="no HPA keeps the promise", held=True)


def _of_bursts(ours: Row, rows: Sequence[Row]) -> Iterator[Bound]:
    hpa = next((row for row in rows if row.name == CEILING_HPA), None)
    if hpa is not None:
        yield Bound(
            text=f"attainment {ours.both:.2f} % >= that of the {hpa.name}, {hpa.both:.2f} %",
            held=ours.both >= hpa.both,
        )
        yield _cost(ours, 0.6, hpa)
    fixed = [row for row in rows if row.kind is Kind.CONSTANT and row.gpu_hours <= ours.gpu_hours]
    if fixed:
        best = max(fixed, key=lambda row: row.both)
        yield Bound(
            text=f"attainment {ours.both:.2f} % >= that of every constant size that costs no more: {best.name}, "
            f"{best.both:.2f} %, {best.gpu_hours:.2f} GPU-hours",
            held=ours.both >= best.both,
        )


def _cost(ours: Row, factor: float, other: Row, *, below: bool = False) -> Bound:
    ratio = ours.gpu_hours / other.gpu_hours
    return Bound(
        text=f"{ours.gpu_hours:.2f} GPU-hours {'<' if below else '<='} {factor:g} x {other.gpu_hours:.2f} "
        f"of {other.name}: {ratio:.3f} x",
        held=ratio < factor if below else ratio <= factor,
    )


def _cheapest(rows: Sequence[Row], kind: Kind) -> Row | None:
    kept = [row for row in rows if row.kind is kind and row.keeps]
    return min(kept, key=lambda row: row.gpu_hours, default=None)
