"""First plans take turns, so that a start or many new policies at once do not overload Prometheus."""

from __future__ import annotations

from dataclasses import dataclass

MOST_GAP_S = 0.25
"""Between two first plans; a single new policy does not wait at all."""

MOST_SPREAD_S = 60.0
"""All policies of a restarted operator have planned after this long, however many there are."""


@dataclass(slots=True)
class Turns:
    """When the next first plan may begin, in monotonic seconds."""

    free_at_s: float = 0.0

    def take(self, *, now_s: float, policies: int) -> float:
        """Reserve the next turn and return when it begins.

        Args:
            now_s: monotonic time.
            policies: how many policies there are; they share `MOST_SPREAD_S`.

        >>> turns = Turns()
        >>> [turns.take(now_s=100.0, policies=3) for _ in range(3)]
        [100.0, 100.25, 100.5]
        >>> turns.take(now_s=200.0, policies=1000)
        200.0
        """
        begins_at_s = max(now_s, self.free_at_s)
        self.free_at_s = begins_at_s + min(MOST_GAP_S, MOST_SPREAD_S / max(1, policies))
        return begins_at_s
