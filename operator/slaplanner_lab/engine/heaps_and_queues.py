"""Order without allocation: the next event of all workers, the next finish of a batch, queues.

`tree_*`: a winner tree over the workers' next events; an update walks from leaf to root.
`heap_*`: a skew heap (Sleator and Tarjan 1986, self-adjusting, O(log n) amortised) of the requests
of one batch by `finish_v`, with parents, so that any member can leave.
`queue_*`: doubly linked lists.
"""

from __future__ import annotations

from slaplanner_lab.engine.compiled import kernel
from slaplanner_lab.engine.state import NONE, Integers, Records


@kernel
def tree_update(tree: Integers, workers: Records, worker: int) -> None:
    """Make the winners above *worker* right after its `event_s` changed."""
    event_s = workers["event_s"]
    node = (worker + tree.size // 2) // 2
    while node >= 1:
        left = tree[2 * node]
        right = tree[2 * node + 1]
        tree[node] = right if event_s[right] < event_s[left] else left
        node //= 2


@kernel
def heap_merge(requests: Records, a: int, b: int) -> int:
    """Join two heaps; the new root. Either may be `NONE`."""
    left, right, up, key = requests["left"], requests["right"], requests["up"], requests["finish_v"]
    root = NONE
    parent = NONE
    while a != NONE and b != NONE:  # noqa: PLR1714 - a tuple would be built at every step
        if key[b] < key[a]:
            a, b = b, a
        if parent == NONE:
            root = a
        else:
            left[parent] = a
        up[a] = parent
        parent = a
        rest = right[a]
        right[a] = left[a]
        a = rest
    rest = b if a == NONE else a
    if parent == NONE:
        root = rest
    else:
        left[parent] = rest
    if rest != NONE:
        up[rest] = parent
    return int(root)


@kernel
def heap_push(requests: Records, root: int, request: int) -> int:
    """Add *request* by its `finish_v`; the new root."""
    requests["left"][request] = NONE
    requests["right"][request] = NONE
    return heap_merge(requests, root, request)


@kernel
def heap_remove(requests: Records, root: int, request: int) -> int:
    """Take *request* out, wherever it is; the new root."""
    left, right, up = requests["left"], requests["right"], requests["up"]
    parent = up[request]
    rest = heap_merge(requests, left[request], right[request])
    if rest != NONE:
        up[rest] = parent
    if parent == NONE:
        return int(rest)
    if left[parent] == request:
        left[parent] = rest
    else:
        right[parent] = rest
    return root


@kernel
def queue_append(queues: Records, queue: int, requests: Records, request: int) -> None:
    """Put *request* last."""
    tail = queues["tail"][queue]
    requests["before"][request] = tail
    requests["after"][request] = NONE
    if tail == NONE:
        queues["head"][queue] = request
    else:
        requests["after"][tail] = request
    queues["tail"][queue] = request
    queues["length"][queue] += 1


@kernel
def queue_put_first(queues: Records, queue: int, requests: Records, request: int) -> None:
    """Put *request* before all others."""
    head = queues["head"][queue]
    requests["before"][request] = NONE
    requests["after"][request] = head
    if head == NONE:
        queues["tail"][queue] = request
    else:
        requests["before"][head] = request
    queues["head"][queue] = request
    queues["length"][queue] += 1


@kernel
def queue_pop(queues: Records, queue: int, requests: Records) -> int:
    """Take the first request, or `NONE`."""
    head = queues["head"][queue]
    if head == NONE:
        return NONE
    rest = requests["after"][head]
    queues["head"][queue] = rest
    if rest == NONE:
        queues["tail"][queue] = NONE
    else:
        requests["before"][rest] = NONE
    queues["length"][queue] -= 1
    return int(head)
