"""The decoder: one text for GLM-4-9B, GLM-4-0414, GLM-4.5 and their like, Llama and Qwen2, top to bottom.

It is written for one device and any leading dimensions: (T,) when serving, (B, T) when training. What differs
between families are fields of the config. How queries meet keys is the caller's choice (`attend`), so the
same text runs over whole sequences and over a paged cache. Quantisation, adapters and sharding are put in
from outside, by replacing submodules or by hooks behind them.

q, k and v are one matrix, and so are gate and up: rows in that order. T tokens, H hidden size, E experts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from openglm import kernels
from openglm.model.attention import Attend, CacheLayer
from openglm.model.config import ModelConfig
from openglm.model.rope import Rope

Angles = tuple[Tensor, Tensor]  # cos, sin


@dataclass(frozen=True)
class Origin:
    """How a checkpoint stores this model where that differs from how it is held; an export repeats it."""

    dtypes: Mapping[str, torch.dtype] = field(default_factory=dict)  # published name -> type in the files
    copies: frozenset[str] = frozenset()  # published tensors that repeat embedding or head


class Decoder(nn.Module):
    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = config
        self.origin = Origin()
        self.embed_tokens = Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Layer(config, i) for i in range(config.num_hidden_layers))
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.lm_head = Linear(config.hidden_size, config.vocab_size, bias=False)
        if config.tie_word_embeddings:
            self.lm_head.weight = self.embed_tokens.weight
        self.mtp = nn.ModuleList(
            MTP(config, config.num_hidden_layers + i) for i in range(config.num_nextn_predict_layers)
        )
        self.rope = Rope(config.rope, config.head_dim)
        if not self.norm.weight.is_meta:
            self.init_weights()

    @torch.no_grad()
    def init_weights(self) -> None:
        """Matrices normal with the config's `initializer_range`, biases 0, norms 1."""
        for name, tensor in self.state_dict(keep_vars=True).items():
            if name.endswith("bias"):
                tensor.zero_()
            elif tensor.dim() == 1:
                tensor.fill_(1)
            else:
                tensor.normal_(std=self.config.initializer_range)

    def forward(self, input_ids: Tensor, positions: Tensor, attend: Attend) -> Tensor:
        """(..., T) token ids at (..., T) positions -> (..., T, H), after the final norm."""
        x = self.embed_tokens(input_ids)
        angles = self.rope(positions)
        for layer in self.layers:
            x = layer(x, angles, attend)
        return self.norm(x)

    def logits(self, hidden: Tensor, depth: int | None = None) -> Tensor:
        """(..., H) -> (..., vocab_size) float32. `depth`: of the draft that made `hidden`, if one did."""
        own = None if depth is None else self._mtp(depth).head
        return (own or self.lm_head)(hidden).float()

    def draft(
        self, hidden: Tensor, next_ids: Tensor, positions: Tensor, attend: Attend, depth: int = 0
    ) -> Tensor:
        """What `forward` (or the draft before) said at t, and the token at t + 1 -> hidden for t + 2.

        hidden (..., T, H) is taken after the final norm; `positions` are those of `next_ids`. The result goes
        into `logits`, and as `hidden` into the next draft.
        """
        mtp = self._mtp(depth)
        embedded = (mtp.embed_tokens or self.embed_tokens)(next_ids)
        return mtp(embedded, hidden, self.rope(positions), attend)

    def cache_layers(self) -> list[CacheLayer]:
        """What each attention layer stores per token, in the order of `attend`'s layer numbers."""
        blocks = [*self.layers, *(mtp.block for mtp in self.mtp)]
        return [block.self_attn.cache for block in blocks]

    def _mtp(self, depth: int) -> MTP:
        return self.mtp[depth]  # type: ignore[return-value]

    @property
    def device(self) -> torch.device:
        return self.norm.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """The type of activations."""
        return self.embed_tokens.dtype


class Linear(nn.Linear):
    def reset_parameters(self) -> None:
        """Left to `Decoder.init_weights`."""


class Embedding(nn.Embedding):
    def reset_parameters(self) -> None:
        """Left to `Decoder.init_weights`."""

    @property
    def dtype(self) -> torch.dtype:
        """The type of what comes out."""
        return self.weight.dtype


class Layer(nn.Module):
    """x + attention, then x + MLP; each behind a norm, and in sandwich families before one as well."""

    def __init__(self, config: ModelConfig, index: int):
        super().__init__()
        H, eps = config.hidden_size, config.rms_norm_eps
        self.input_layernorm = RMSNorm(H, eps)
        self.self_attn = Attention(config, index)
        self.post_attention_layernorm = RMSNorm(H, eps)
        self.mlp = MoE(config) if config.is_moe(index) else MLP(H, config.intermediate_size, config.mlp_bias)
        sandwich = config.family.sandwich_norm
        self.post_self_attn_layernorm = RMSNorm(H, eps) if sandwich else nn.Identity()
        self.post_mlp_layernorm = RMSNorm(H, eps) if sandwich else nn.Identity()

    def forward(self, x: Tensor, angles: Angles, attend: Attend) -> Tensor:
        y = self.self_attn(self.input_layernorm(x), angles, attend)
        x = kernels.add(x, self.post_self_attn_layernorm(y))
        return kernels.add(x, self.post_mlp_layernorm(self.mlp(self.post_attention_layernorm(x))))


class Attention(nn.Module):
    """Grouped-query attention with rotary positions on the front of each head."""

    def __init__(self, config: ModelConfig, index: int):
        super().__init__()
        self.index = index
        self.head_dim = config.head_dim
        self.heads, self.kv_heads = config.num_attention_heads, config.num_key_value_heads
        self.scale = config.head_dim**-0.5
        self.interleaved = config.family.rope_interleaved
        self.cache = CacheLayer(self.kv_heads, self.head_dim, self.head_dim)
        q_width, kv_width = self.heads * self.head_dim, self.kv_heads * self.head_dim
        self.qkv_proj = Linear(config.hidden_size, q_width + 2 * kv_width, bias=config.attention_bias)
        output_bias = config.attention_bias and config.family.output_bias
        self.o_proj = Linear(q_width, config.hidden_size, bias=output_bias)
        if config.use_qk_norm:
            self.q_norm: nn.Module = RMSNorm(self.head_dim, config.rms_norm_eps)
            self.k_norm: nn.Module = RMSNorm(self.head_dim, config.rms_norm_eps)
        else:
            self.q_norm = self.k_norm = nn.Identity()

    def forward(self, x: Tensor, angles: Angles, attend: Attend) -> Tensor:
        qkv = self.qkv_proj(x).unflatten(-1, (-1, self.head_dim))  # (..., T, heads + 2 kv_heads, head_dim)
        q, k, v = qkv.split((self.heads, self.kv_heads, self.kv_heads), dim=-2)
        q = kernels.rope_inplace(self.q_norm(q), *angles, self.interleaved)
        k = kernels.rope_inplace(self.k_norm(k), *angles, self.interleaved)
        return self.o_proj(attend(self.index, q, k, v, self.scale).flatten(-2))


class MLP(nn.Module):
    """SwiGLU: down(silu(gate(x)) * up(x))."""

    def __init__(self, hidden_size: int, width: int, bias: bool = False):
        super().__init__()
        self.gate_up_proj = Linear(hidden_size, 2 * width, bias=bias)
        self.down_proj = Linear(width, hidden_size, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        gate, up = self.gate_up_proj(x).chunk(2, dim=-1)
        return self.down_proj(kernels.silu_and_mul(gate, up))


class MoE(nn.Module):
    """A few routed experts per token, and shared ones that all tokens pass."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        H, width = config.hidden_size, config.moe_intermediate_size
        self.gate = Router(config)
        self.experts = Experts(config.n_routed_experts, H, width)
        self.shared_experts = MLP(H, width * config.n_shared_experts) if config.n_shared_experts else None

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.reshape(-1, x.shape[-1])
        out = self.experts(tokens, *self.gate(tokens)).view_as(x)
        return out if self.shared_experts is None else out + self.shared_experts(x)


class Router(nn.Module):
    """Sigmoid scores; a bias moves the choice of experts but not their weights (arXiv:2408.15664)."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = config
        self.weight = nn.Parameter(torch.empty(config.n_routed_experts, config.hidden_size))
        self.e_score_correction_bias: Tensor  # float32 whatever the model's type
        self.register_buffer("e_score_correction_bias", torch.zeros(config.n_routed_experts))

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """(T, H) -> the chosen experts (T, k) and their weights (T, k) float32."""
        config = self.config
        scores = F.linear(tokens.float(), self.weight.float()).sigmoid()  # (T, E)
        biased = scores + self.e_score_correction_bias.float()
        if config.topk_group < config.n_group:  # only the best groups, by their two best experts
            groups = biased.unflatten(-1, (config.n_group, -1))
            best = groups.topk(2, dim=-1).values.sum(-1).topk(config.topk_group, dim=-1).indices
            open_groups = torch.zeros_like(groups[..., 0], dtype=torch.bool).scatter(-1, best, True)
            biased = groups.masked_fill(~open_groups[..., None], float("-inf")).flatten(-2)
        chosen = biased.topk(config.num_experts_per_tok, dim=-1).indices
        weights = scores.gather(-1, chosen)
        if config.norm_topk_prob:
            weights = weights / (weights.sum(-1, keepdim=True) + 1e-20)
        return chosen, weights * config.routed_scaling_factor


class Experts(nn.Module):
    """E SwiGLU MLPs, their matrices stacked. Walks over the experts that were chosen at all."""

    def __init__(self, num_experts: int, hidden_size: int, width: int):
        super().__init__()
        self.gate_up_proj = nn.Parameter(torch.empty(num_experts, 2 * width, hidden_size))
        self.down_proj = nn.Parameter(torch.empty(num_experts, hidden_size, width))

    def forward(self, tokens: Tensor, chosen: Tensor, weights: Tensor) -> Tensor:
        """tokens (T, H), chosen and weights (T, k) -> (T, H)."""
        out = torch.zeros_like(tokens)
        for expert in chosen.unique().tolist():
            rows, slots = (chosen == expert).nonzero(as_tuple=True)
            y = self.expert(expert, tokens[rows]) * weights[rows, slots, None]
            out.index_add_(0, rows, y.to(out.dtype))
        return out

    def expert(self, index: int, tokens: Tensor) -> Tensor:
        gate, up = F.linear(tokens, self.gate_up_proj[index]).chunk(2, dim=-1)
        return F.linear(kernels.silu_and_mul(gate, up), self.down_proj[index])


class MTP(nn.Module):
    """A layer that predicts one token further (arXiv:2412.19437, section 2.2).

    Published under the next layer's number. Some checkpoints store copies of embedding and head with it;
    only where they differ from the model's own are they kept here.
    """

    embed_tokens: nn.Module | None
    head: nn.Module | None

    def __init__(self, config: ModelConfig, index: int):
        super().__init__()
        H, eps = config.hidden_size, config.rms_norm_eps
        self.enorm = RMSNorm(H, eps)
        self.hnorm = RMSNorm(H, eps)
        self.eh_proj = Linear(2 * H, H, bias=False)
        self.block = Layer(config, index)
        self.norm = RMSNorm(H, eps)  # published as shared_head.norm
        self.embed_tokens = self.head = None

    def forward(self, embedded: Tensor, hidden: Tensor, angles: Angles, attend: Attend) -> Tensor:
        joined = torch.cat((self.enorm(embedded), self.hnorm(hidden)), dim=-1)
        return self.norm(self.block(self.eh_proj(joined), angles, attend))


class RMSNorm(nn.Module):
    def __init__(self, size: int, eps: float):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return kernels.rms_norm(x, self.weight.to(x.dtype), self.eps)
