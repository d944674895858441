"""What `make release-check` calls locked."""

from __future__ import annotations

from manifests.release_check import LOCK, unlocked


def test_every_requirement_of_the_image_is_exact_and_has_hashes() -> None:
    assert unlocked(LOCK.read_text()) == []


def test_a_range_and_a_missing_hash_are_named() -> None:
    good = "good==1.0 \\\n    --hash=sha256:00\n"
    assert unlocked(good) == []
    assert unlocked(good + "ranged>=2 \\\n    --hash=sha256:00\nbare==3\n") == ["ranged>=2", "bare==3"]
