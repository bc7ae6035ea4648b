"""Attention over a paged cache: keys and values lie in blocks that a table per sequence puts in order."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from openglm.kernels.build import check
from openglm.kernels.choose import FLOATS, Compute, choose


def write_cache(
    k: Tensor, v: Tensor, key_cache: Tensor, value_cache: Tensor, slots: Tensor, *, compute: Compute = "auto"
) -> None:
    """Store k, v (T, kv_heads, dim) at slots (T,) int64, slot = block * block_size + offset in the block."""
    for name, rows, cache in (("k", k, key_cache), ("v", v, value_cache)):
        if rows.shape != (slots.shape[0], *cache.shape[2:]):
            raise ValueError(
                f"{name} must be {(slots.shape[0], *cache.shape[2:])} for {slots.shape[0]} slots and a cache "
                f"{tuple(cache.shape)}, got {tuple(rows.shape)}"
            )
    alike = k.dtype == v.dtype and key_cache.dtype == value_cache.dtype
    native = choose(compute, k, v, key_cache, value_cache) if alike else None
    if native is None:
        key_cache.flatten(0, 1)[slots] = k.to(key_cache.dtype)
        value_cache.flatten(0, 1)[slots] = v.to(value_cache.dtype)
        return
    k, v = _heads_in_one_piece(k), _heads_in_one_piece(v)
    slots = slots.long().contiguous()
    num_blocks, block_size, kv_heads, key_dim = key_cache.shape
    check(
        native.functions.openglm_write_cache(
            slots.data_ptr(),
            slots.shape[0],
            num_blocks * block_size,
            kv_heads,
            FLOATS[k.dtype],
            FLOATS[key_cache.dtype],
            k.data_ptr(),
            key_dim,
            *k.stride()[:2],
            _whole(key_cache).data_ptr(),
            v.data_ptr(),
            v.shape[2],
            *v.stride()[:2],
            _whole(value_cache).data_ptr(),
        )
    )


def paged_attention(  # noqa: PLR0917, the order every paged attention has
    q: Tensor,
    key_cache: Tensor,
    value_cache: Tensor,
    block_tables: Tensor,
    query_starts: Tensor,
    query_lens: Tensor,
    context_lens: Tensor,
    scale: float,
    *,
    compute: Compute = "auto",
) -> Tensor:
    """Causal attention of a flat batch of query rows over each sequence's cached keys.

    q (T, heads, key_dim); caches (num_blocks, block_size, kv_heads, dim); block_tables (B, max_blocks) int32.
    Sequence b owns rows query_starts[b] .. + query_lens[b] and has context_lens[b] keys, these rows' own
    included: its row i sees the first context_lens[b] - query_lens[b] + i + 1 keys. Rows that no sequence
    owns come back as zeros. -> (T, heads, value_dim) in the dtype of q.
    """
    num_blocks, block_size, kv_heads, key_dim = key_cache.shape
    if value_cache.shape[:3] != key_cache.shape[:3] or q.shape[2] != key_dim or q.shape[1] % kv_heads:
        raise ValueError(
            f"q {tuple(q.shape)}, key cache {tuple(key_cache.shape)} and value cache "
            f"{tuple(value_cache.shape)} do not fit together"
        )
    out = q.new_empty(*q.shape[:2], value_cache.shape[-1])
    native = choose(compute, q, key_cache, value_cache) if key_cache.dtype == value_cache.dtype else None
    if native is None:
        out.zero_()
        bounds = torch.stack((query_starts, query_lens, context_lens), dim=1).tolist()
        for b, (start, length, context) in enumerate(bounds):
            if not length:
                continue
            blocks = block_tables[b, : -(-context // block_size)].long()
            keys = key_cache[blocks].flatten(0, 1)[:context].to(q.dtype)  # (context, kv_heads, key_dim)
            values = value_cache[blocks].flatten(0, 1)[:context].to(q.dtype)
            out[start : start + length] = _attend(q[start : start + length], keys, values, scale)
        return out
    q = _heads_in_one_piece(q)
    tables, starts, lengths, contexts = [
        t.int().contiguous() for t in (block_tables, query_starts, query_lens, context_lens)
    ]
    check(
        native.functions.openglm_paged_attention(
            q.data_ptr(),
            FLOATS[q.dtype],
            q.shape[0],
            q.shape[1],
            *q.stride()[:2],
            _whole(key_cache).data_ptr(),
            _whole(value_cache).data_ptr(),
            FLOATS[key_cache.dtype],
            num_blocks,
            block_size,
            kv_heads,
            key_dim,
            value_cache.shape[-1],
            tables.data_ptr(),
            tables.shape[1],
            tables.shape[0],
            starts.data_ptr(),
            lengths.data_ptr(),
            contexts.data_ptr(),
            scale,
            out.data_ptr(),
            torch.get_num_threads(),
        )
    )
    return out


def _attend(q: Tensor, keys: Tensor, values: Tensor, scale: float) -> Tensor:
    """One sequence's last rows over all of its keys: (rows, heads, dim) over (context, kv_heads, dim)."""
    rows, context = q.shape[0], keys.shape[0]
    last_key = torch.arange(context - rows, context, device=q.device)
    sees = torch.arange(context, device=q.device) <= last_key[:, None]
    out = F.scaled_dot_product_attention(
        q.transpose(0, 1)[None],
        keys.transpose(0, 1)[None],
        values.transpose(0, 1)[None],
        attn_mask=None if rows == 1 else sees,
        scale=scale,
        enable_gqa=True,
    )
    return out[0].transpose(0, 1)


def _heads_in_one_piece(x: Tensor) -> Tensor:
    return x if x.stride(2) == 1 else x.contiguous()


def _whole(cache: Tensor) -> Tensor:
    if not cache.is_contiguous():
        raise ValueError(f"a cache must be contiguous, got strides {cache.stride()} for {tuple(cache.shape)}")
    return cache
