"""How a bid of ours is known again.

poold has no key for what a caller asks, and draws an order's nonce itself: after a lost answer
nobody knows it. (A nonce of ours is taken, and can then not be canceled: poold draws a secret
and makes the nonce of it.) But a bid may name nodes that it does not want to be matched with,
and poold stores and lists them with it. So every bid carries one node that nobody is: a point
of the curve that is made of the lease's key, whose secret nobody knows.
"""

from __future__ import annotations

import hashlib
from typing import Final

from fulgurite.identity import NodeName, NodePubkey
from fulgurite.leases.requests import LeaseKey

# secp256k1: y² = x³ + 7 modulo this.
_P: Final = 2**256 - 2**32 - 977


def mark_of(node: NodeName, key: LeaseKey) -> NodePubkey:
    """The mark of a lease's bid: always the same for the same lease, and a valid public key."""
    seed = f"fulgurite lease {node}/{key}".encode()
    while True:
        # Half of all numbers are the x of a point; the next hash is as good as this one.
        seed = hashlib.sha256(seed).digest()
        if _is_on_curve(int.from_bytes(seed)):
            return NodePubkey(f"02{seed.hex()}")


def offset_of(node: NodeName, key: LeaseKey, blocks: int) -> int:
    """A number below `blocks` that is the lease's own, to tell its account's expiry by."""
    return int.from_bytes(hashlib.sha256(f"{node}/{key}".encode()).digest()[:8]) % blocks


def _is_on_curve(x: int) -> bool:
    if not 0 < x < _P:
        return False
    square = (pow(x, 3, _P) + 7) % _P
    return pow(square, (_P - 1) // 2, _P) == 1
