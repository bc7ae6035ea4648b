"""The paged cache's bookkeeping: which block is free, shared, or remembered for its content. No torch.

A block is `block_size` token positions in every layer's cache. Full blocks are remembered by a chained hash
of (all tokens up to their end, salt, adapter), so that equal prefixes are computed once. Memory of a block
that nobody uses is given away only when no empty block is left, least recently used first.
"""

from __future__ import annotations

from array import array
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from hashlib import blake2b


def root_hash(salt: str, adapter: int) -> bytes:
    """Parent of a sequence's first block. Different salts or adapters never share a block."""
    text = f"{adapter} {salt}".encode("utf-8", "surrogatepass")
    return blake2b(text, digest_size=32, person=b"openglm-prefix").digest()


def block_hash(parent: bytes, token_ids: Sequence[int]) -> bytes:
    """Cryptographic, so that no prompt can be built to collide with another user's."""
    return blake2b(parent + array("q", token_ids).tobytes(), digest_size=32).digest()


class BlockPool:
    def __init__(self, num_blocks: int, block_size: int):
        if num_blocks < 1:
            raise ValueError(f"the cache needs at least one block, got {num_blocks}")
        self.num_blocks = num_blocks
        self.block_size = block_size
        self._refs = [0] * num_blocks
        self._hashes: list[bytes | None] = [None] * num_blocks
        self._cached: dict[bytes, int] = {}
        # Unused blocks in the order in which they are given away: empty ones first (the last used
        # first, its memory is warm), then remembered ones, oldest first.
        self._free: OrderedDict[int, None] = OrderedDict.fromkeys(range(num_blocks))

    @property
    def num_free(self) -> int:
        return len(self._free)

    @property
    def num_cached(self) -> int:
        return len(self._cached)

    def blocks_for(self, num_tokens: int) -> int:
        return -(-num_tokens // self.block_size)

    def allocate(self, count: int) -> list[int]:
        """`count` blocks with undefined content. The caller has checked `num_free`."""
        assert count <= len(self._free), f"{count} blocks wanted, {len(self._free)} free"
        blocks = []
        for _ in range(count):
            block, _ = self._free.popitem(last=False)
            self._forget(block)
            self._refs[block] = 1
            blocks.append(block)
        return blocks

    def lookup(self, hashes: Iterable[bytes]) -> list[int]:
        """The longest remembered prefix. Its blocks are not held yet: `share` them before any `allocate`."""
        found = []
        for digest in hashes:
            block = self._cached.get(digest)
            if block is None:
                break
            found.append(block)
        return found

    def num_unused(self, blocks: Iterable[int]) -> int:
        """How many of them `share` would take out of the free ones."""
        return sum(self._refs[block] == 0 for block in blocks)

    def share(self, blocks: Iterable[int]) -> None:
        for block in blocks:
            if self._refs[block] == 0:
                del self._free[block]
            self._refs[block] += 1

    def release(self, blocks: Sequence[int]) -> None:
        """One user less. A sequence's last blocks are given away before its first."""
        for block in reversed(blocks):
            self._refs[block] -= 1
            assert self._refs[block] >= 0, f"block {block} was released twice"
            if self._refs[block] == 0:
                self._free[block] = None
                if self._hashes[block] is None:
                    self._free.move_to_end(block, last=False)

    def register(self, block: int, digest: bytes) -> None:
        """Remember a full block. Of two blocks with equal content the first is kept."""
        if digest not in self._cached:
            self._cached[digest] = block
            self._hashes[block] = digest

    def forget(self, blocks: Iterable[int]) -> None:
        """Their content is not to be trusted; whoever uses them now may go on."""
        for block in blocks:
            self._forget(block)
            if block in self._free:
                self._free.move_to_end(block, last=False)

    def forget_all(self) -> None:
        self.forget(list(self._cached.values()))

    def _forget(self, block: int) -> None:
        digest = self._hashes[block]
        if digest is not None:
            del self._cached[digest]
            self._hashes[block] = None

    def check(self) -> None:
        """Assert the invariants (for tests)."""
        for block, refs in enumerate(self._refs):
            assert (refs == 0) == (block in self._free), f"block {block}: {refs} users"
        for digest, block in self._cached.items():
            assert self._hashes[block] == digest
        assert len(self._cached) == sum(digest is not None for digest in self._hashes)
        remembered = [self._hashes[block] is not None for block in self._free]
        assert remembered == sorted(remembered), "empty blocks must come before remembered ones"
