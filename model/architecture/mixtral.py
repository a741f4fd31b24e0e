"""Mixtral, top to bottom: the decoder that the bundled release was trained with and every release is booted on.

Modules and parameters are named as in the publisher's weights (layout ``mistral``), so that a state dict fits as it is,
strictly. A dense Mistral is the case without experts. The model computes in the dtype and on the device of its weights;
rotations, norms and the router's softmax are in float32 inside, whatever the dtype.

Shapes: B sequences of T tokens, D ``dim``, H query heads and K key-value heads of size d, E experts with hidden size F,
k experts chosen for a token, V pieces of the vocabulary; N = B * T tokens of all sequences together.

Sources: "Mixtral of Experts" (arXiv:2401.04088), and the publisher's own code: rotary pairs are neighbours
(x[2i], x[2i+1]); the router takes the top k logits first, and then the softmax over those, in float32.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from magnetar.convert.layout.architecture import Architecture


@dataclass(frozen=True, slots=True)
class Routing:
    """What the router of one layer decided: ``logits`` [N, E], the ``chosen`` experts and their ``weights`` [N, k]."""

    logits: Tensor
    chosen: Tensor
    weights: Tensor


Watch = Callable[[Routing], None]
"""Called with the decision of the router of one layer."""


class Rotation:
    """The rotary embedding of positions ``start`` to ``start + length`` (arXiv:2104.09864), interleaved pairs."""

    def __init__(self, architecture: Architecture, start: int, length: int, device: torch.device | None = None) -> None:
        d = architecture.head_dim
        # float64, because at position 32k a float32 angle is already off by 1e-3
        frequencies = architecture.rope_theta ** -(torch.arange(0, d, 2, dtype=torch.float64) / d)
        angles = torch.outer(torch.arange(start, start + length, dtype=torch.float64), frequencies)
        self.start, self.length = start, length
        turns = torch.polar(torch.ones_like(angles), angles).to(torch.complex64)
        self._turns = turns[:, None].to(device)  # [T, 1, d/2]

    def turn(self, x: Tensor) -> Tensor:
        """Rotate ``x`` [B, T, heads, d] by its positions."""
        pairs = torch.view_as_complex(x.float().reshape(*x.shape[:-1], -1, 2))  # [B, T, heads, d/2]
        return torch.view_as_real(pairs * self._turns).flatten(-2).type_as(x)


class KeyValues:
    """The cache of one layer: keys and values of all positions so far, at most ``room``.

    With a sliding window only the positions that it reaches are kept, in a ring: position p is in slot p modulo its
    size.
    """

    def __init__(
        self,
        architecture: Architecture,
        batch: int,
        room: int,
        dtype: torch.dtype = torch.float32,
        device: torch.device | None = None,
    ) -> None:
        self.slots = min(room, architecture.sliding_window or room)
        shape = (batch, self.slots, architecture.n_kv_heads, architecture.head_dim)
        self._keys = torch.zeros(shape, dtype=dtype, device=device)
        self._values = torch.zeros(shape, dtype=dtype, device=device)

    def extend(self, start: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Add the keys and values [B, T, K, d] of the positions from ``start`` on; return all that they may attend to.

        These are [B, S, K, d], in the order of their positions. For a single position they are in the order of the
        ring, because attention of one query without a mask does not depend on the order.
        """
        length = keys.shape[1]
        end = start + length
        if length == 1:
            slot = start % self.slots
            self._keys[:, slot], self._values[:, slot] = keys[:, 0], values[:, 0]
            kept = min(end, self.slots)
            return self._keys[:, :kept], self._values[:, :kept]
        if start:
            past = torch.arange(max(0, start - self.slots), start, device=keys.device) % self.slots
            keys = torch.cat([self._keys[:, past], keys], dim=1)
            values = torch.cat([self._values[:, past], values], dim=1)
        last = min(length, self.slots)
        slots = torch.arange(end - last, end, device=keys.device) % self.slots
        self._keys[:, slots], self._values[:, slots] = keys[:, -last:], values[:, -last:]
        return keys, values


class Attention(nn.Module):
    """Causal self-attention with grouped queries: every H / K heads share one key-value head."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        a = architecture
        self.heads, self.kv_heads, self.head_dim, self.window = a.n_heads, a.n_kv_heads, a.head_dim, a.sliding_window
        self.wq = nn.Linear(a.dim, a.n_heads * a.head_dim, bias=False)
        self.wk = nn.Linear(a.dim, a.n_kv_heads * a.head_dim, bias=False)
        self.wv = nn.Linear(a.dim, a.n_kv_heads * a.head_dim, bias=False)
        self.wo = nn.Linear(a.n_heads * a.head_dim, a.dim, bias=False)

    def forward(self, x: Tensor, rotation: Rotation, cache: KeyValues | None) -> Tensor:
        batch, length, _ = x.shape
        queries = rotation.turn(self.wq(x).view(batch, length, self.heads, self.head_dim))  # [B, T, H, d]
        keys = rotation.turn(self.wk(x).view(batch, length, self.kv_heads, self.head_dim))  # [B, T, K, d]
        values = self.wv(x).view(batch, length, self.kv_heads, self.head_dim)
        if cache is not None:
            keys, values = cache.extend(rotation.start, keys, values)  # [B, start + T, K, d]
        if length == 1:  # no key lies later or too far back, so no mask is needed, and a group of heads is one batch
            grouped = queries.view(batch, self.kv_heads, -1, self.head_dim)  # [B, K, H / K, d]
            mixed = functional.scaled_dot_product_attention(
                grouped, keys.transpose(1, 2), values.transpose(1, 2)
            )  # [B, K, H / K, d]
            decoded: Tensor = self.wo(mixed.reshape(batch, 1, -1))
            return decoded
        # A full pass within the window needs no mask but the causal one, which is twice as fast.
        plain = keys.shape[1] == length and (self.window is None or length <= self.window)
        group = self.heads // self.kv_heads
        mixed = functional.scaled_dot_product_attention(
            queries.transpose(1, 2),  # [B, H, T, d]
            keys.transpose(1, 2).repeat_interleave(group, dim=1),
            values.transpose(1, 2).repeat_interleave(group, dim=1),
            attn_mask=None if plain else causal_mask(length, keys.shape[1], self.window, x.device),
            is_causal=plain,
        )  # [B, H, T, d]
        out: Tensor = self.wo(mixed.transpose(1, 2).flatten(-2))  # [B, T, D]
        return out


def causal_mask(queries: int, keys: int, window: int | None, device: torch.device | None = None) -> Tensor:
    """Which of S keys each of T queries may attend to [T, S]: none that is later, or further back than ``window``.

    The queries are the last T of the S positions.
    """
    query = torch.arange(keys - queries, keys, device=device)[:, None]
    key = torch.arange(keys, device=device)
    mask = key <= query
    return mask if window is None else mask & (key > query - window)


class FeedForward(nn.Module):
    """One SwiGLU expert, or the dense feed-forward of a Mistral (arXiv:2002.05202)."""

    def __init__(self, dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.w1 = nn.Linear(dim, hidden_dim, bias=False)
        self.w2 = nn.Linear(hidden_dim, dim, bias=False)
        self.w3 = nn.Linear(dim, hidden_dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.w2(functional.silu(self.w1(x)) * self.w3(x))
        return out


class MixtureOfExperts(nn.Module):
    """The router and its experts. Tokens are grouped by expert; an expert that no token chose is not run."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.experts_per_token = architecture.experts_per_token
        self.gate = nn.Linear(architecture.dim, architecture.n_experts, bias=False)
        self.experts = nn.ModuleList(
            FeedForward(architecture.dim, architecture.hidden_dim) for _ in range(architecture.n_experts)
        )

    def route(self, tokens: Tensor) -> Routing:
        """Choose experts for ``tokens`` [N, D]: the top k logits, then the softmax over those in float32."""
        logits = self.gate(tokens).float()  # [N, E]
        best, chosen = logits.topk(self.experts_per_token)
        return Routing(logits, chosen, best.softmax(-1))

    def forward(self, x: Tensor, watch: Watch) -> Tensor:
        tokens = x.flatten(0, -2)  # [N, D]
        routing = self.route(tokens)
        watch(routing)
        if len(tokens) == 1:
            return self._answer_one(tokens, routing).view_as(x)
        picks = routing.chosen.flatten()  # [N * k]: pick p is of token p // k
        order = picks.argsort(stable=True)  # [N * k]: the picks, expert by expert
        owners = order // self.experts_per_token  # [N * k]: their tokens
        sizes = picks.bincount(minlength=len(self.experts)).tolist()
        groups = torch.split(tokens.index_select(0, owners), sizes)  # for each expert [n, D]
        answers = torch.cat([expert(group) for expert, group in zip(self.experts, groups, strict=True) if len(group)])
        weights = routing.weights.flatten()[order, None].type_as(answers)  # [N * k, 1], as answers [N * k, D]
        return torch.zeros_like(tokens).index_add(0, owners, answers * weights).view_as(x)

    def _answer_one(self, token: Tensor, routing: Routing) -> Tensor:
        """The answer to a single token [1, D], as in decoding: only the experts that it chose are run, unsorted."""
        weights = routing.weights[0].type_as(token)
        answers = [self.experts[expert](token)[0] for expert in routing.chosen[0].tolist()]
        return weights @ torch.stack(answers)  # [k] @ [k, D]


class Block(nn.Module):
    """One layer. It can be built, loaded, run and dropped alone, since nothing in it refers to other layers."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        a = architecture
        self.attention_norm = nn.RMSNorm(a.dim, a.norm_eps)
        self.attention = Attention(a)
        self.ffn_norm = nn.RMSNorm(a.dim, a.norm_eps)
        self.feed_forward = MixtureOfExperts(a) if a.n_experts else FeedForward(a.dim, a.hidden_dim)

    def forward(
        self, x: Tensor, rotation: Rotation, cache: KeyValues | None = None, watch: Watch | None = None
    ) -> Tensor:
        x = x + self.attention(self.attention_norm(x), rotation, cache)  # [B, T, D]
        normed = self.ffn_norm(x)
        if isinstance(self.feed_forward, MixtureOfExperts):
            answer: Tensor = self.feed_forward(normed, watch or _ignore_routing)
        else:
            answer = self.feed_forward(normed)
        return x + answer


class Mixtral(nn.Module):
    """The whole decoder: token ids in, the logits of the next token out."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        a = architecture
        self.architecture = a
        self.tok_embeddings = nn.Embedding(a.vocab_size, a.dim)
        self.layers = nn.ModuleList(Block(a) for _ in range(a.n_layers))
        self.norm = nn.RMSNorm(a.dim, a.norm_eps)
        self.output = nn.Linear(a.dim, a.vocab_size, bias=False)

    def forward(
        self,
        ids: Tensor,
        start: int = 0,
        caches: Sequence[KeyValues] | None = None,
        watches: Sequence[Watch] | None = None,
    ) -> Tensor:
        """The logits [B, T, V] after each of ``ids`` [B, T], whose positions begin at ``start``.

        ``caches`` and ``watches``, where given, are one for each layer.
        """
        rotation = Rotation(self.architecture, start, ids.shape[1], ids.device)
        x: Tensor = self.tok_embeddings(ids)  # [B, T, D]
        for index, layer in enumerate(self.layers):
            x = layer(x, rotation, caches[index] if caches else None, watches[index] if watches else None)
        logits: Tensor = self.output(self.norm(x))  # [B, T, V]
        return logits


def _ignore_routing(_routing: Routing) -> None:
    """The watch of a layer that nobody watches."""
