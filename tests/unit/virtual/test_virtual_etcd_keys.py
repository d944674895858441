"""What etcd's keys mean, whoever wrote them; and a transaction of which nobody heard whether it happened."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hypothesis import given
from hypothesis import strategies as st

from slaplanner.core.model import Role
from slaplanner.settings import EtcdConnection
from slaplanner.virtual.decisions import ABSENT, LARGEST_NUMBER
from slaplanner.virtual.etcd_backend import KEYS, EtcdChannel, head_of, torn
from slaplanner.virtual.etcd_gateway import EtcdGateway
from slaplanner.virtual.etcd_json import KeyValue, entries_of

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["responses", "response_range", "kvs", "key", "value", "create_revision", "mod_revision"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


def entry(value: str | bytes, revision: int = 1) -> KeyValue:
    raw = value.encode() if isinstance(value, str) else value
    return KeyValue(value=raw, create_revision=revision, mod_revision=revision)


@given(st.dictionaries(st.sampled_from(KEYS), st.binary(max_size=20).map(entry)))
def test_any_bytes_are_a_number_or_a_fault(entries: Mapping[str, KeyValue]) -> None:
    head = head_of(entries)
    numbers = [head.acknowledged_id]
    if head.decision is not None:
        numbers += [head.decision.id, *head.decision.workers.values()]
    assert all(ABSENT <= number <= LARGEST_NUMBER for number in numbers)
    unread = [key for key, found in entries.items() if not found.value.isdigit() and found.value != b"-1"]
    assert {fault.partition(":")[0] for fault in head.faults} >= set(unread)


@given(JSON)
def test_any_answer_is_entries_or_none(answer: object) -> None:
    if isinstance(answer, dict):
        assert all(found.mod_revision >= 0 for found in entries_of(answer).values())


def test_counts_belong_to_the_id_that_was_written_with_them_or_after_them() -> None:
    whole = {"num_prefill_workers": entry("3", 5), "decision_id": entry("1", 5)}
    assert not torn(whole)
    assert not torn(whole | {"num_decode_workers": entry("2", 4)}), "another role keeps its older key"
    assert torn(whole | {"num_decode_workers": entry("2", 6)})
    assert not torn({"num_decode_workers": entry("2", 6)}), "before the first decision"


class DeafGateway(EtcdGateway):
    """Its first transaction is carried out, the connection dies, and the second try finds the guard broken."""

    def __init__(self, *, stored: bool) -> None:
        super().__init__(EtcdConnection(endpoints=("http://127.0.0.1:9",)))
        self.stored = stored
        self.entries: dict[str, KeyValue] = {}

    async def get(self, keys: Sequence[str]) -> dict[str, KeyValue]:
        return {key: self.entries[key] for key in keys if key in self.entries}

    async def put_if(self, values: Mapping[str, str], *, unchanged: Mapping[str, KeyValue | None]) -> bool:  # noqa: ARG002 - it never holds
        if self.stored:
            self.entries |= {key: entry(value) for key, value in values.items()}
        return False


async def test_a_publication_that_was_carried_out_unheard_counts_as_ours() -> None:
    counts = {Role.PREFILL: 3, Role.DECODE: 2}
    for stored in (True, False):
        channel = EtcdChannel(DeafGateway(stored=stored), "fleet")
        assert await channel.publish(0, counts, over=await channel.read()) is stored
