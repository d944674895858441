"""What becomes of an input: pieces lost, doubled, swapped for odd ones, nested and cut."""

from __future__ import annotations

import random
from collections.abc import Sequence

ODD = (
    b"NaN", b"Infinity", b"-1", b"0", b"1e308", b"1e-320", b"9" * 400, b"null", b"true", b"[]", b"{}", b'""', b"[" * 600,
    b'{"a":' * 600, b"\x00", b"\xff\xfe", b"!!timestamp x", b"!!map [a]", b"&a [*a]", b"0x" + b"f" * 60, b"\n", b",", b'"',
    b"\\", b"2024-13-45", b"-5", b"01", b"$X", b"=", b"'",
)  # fmt: skip


def mutated(content: bytes, chance: random.Random, others: Sequence[bytes]) -> bytes:
    """*content* after one to four changes."""
    for _ in range(chance.randint(1, 4)):
        start = chance.randint(0, len(content))
        end = min(len(content), start + chance.choice((0, 1, 2, 4, 8, 32, 128)))
        piece = content[start:end]
        put = chance.choice(
            (b"", piece * 2, chance.choice(ODD), chance.choice(ODD), bytes([chance.randrange(256)]))
        )
        if chance.random() < 0.1:
            other = chance.choice(others)
            put = other[chance.randint(0, len(other)) :][:200]
        content = content[:start] + put + content[end:]
    return content[: 1 << 16]
