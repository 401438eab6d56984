"""Large contents that nobody stores: made block by block, known by their SHA-256.

Every block differs from its neighbours, so a block lost, doubled or moved changes the sum.
"""

import functools
import hashlib
import random

BLOCK = 1 << 20
_STEP = 4099  # a prime: the window moves by another offset each time, for a thousand blocks


@functools.cache
def _noise():
    return memoryview(random.Random(20).randbytes(BLOCK * 5))


def blocks(size):
    """Memory views that together are `size` bytes; the same for the same size."""
    noise = _noise()
    index = 0
    while size > 0:
        start = (index * _STEP) % (BLOCK * 4)
        part = noise[start : start + min(BLOCK, size)]
        yield part
        size -= len(part)
        index += 1


@functools.cache
def digest(size):
    total = hashlib.sha256()
    for block in blocks(size):
        total.update(block)
    return total.hexdigest()
