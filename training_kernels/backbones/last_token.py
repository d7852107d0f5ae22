"""The last layer of a Qwen2 language model, computed at the embedding token alone: nothing else of it is read.

Exact: keys and values are made of every token, the query, output and feed-forward part of the one that is pooled. Saves
nine tenths of a layer: of one in 36 in the 3B model, of the only one in the tiny backbone.

Shape letters: B sequences, T tokens of the longest, D width, G groups of heads that share keys, H heads, E width of a head.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLDecoderLayer, rotate_half


def pool_in_last_layer(model: Any) -> None:
    """Has the last layer understand `last_B`, the position of each sequence's last token, and return [B, 1, D] then."""
    last = model.language_model.layers[-1]
    if type(last) is Qwen2_5_VLDecoderLayer and last.self_attn.sliding_window is None:
        last.__class__ = _LastTokenLayer


class _LastTokenLayer(Qwen2_5_VLDecoderLayer):
    def forward(self, hidden_states: Tensor, *args: Any, last_B: Tensor | None = None, **kwargs: Any) -> Tensor:
        if last_B is None:
            return super().forward(hidden_states, *args, **kwargs)
        row_B = torch.arange(len(last_B), device=last_B.device)
        attention: Any = self.self_attn
        normal_BTD = self.input_layernorm(hidden_states)
        cos_BTE, sin_BTE = kwargs["position_embeddings"]
        heads = (-1, attention.head_dim)
        key_BTGE = attention.k_proj(normal_BTD).unflatten(-1, heads)
        value_BTGE = attention.v_proj(normal_BTD).unflatten(-1, heads)
        query_BHE = attention.q_proj(normal_BTD[row_B, last_B]).unflatten(-1, heads)
        key_BTGE = _rotated(key_BTGE, cos_BTE[:, :, None], sin_BTE[:, :, None])
        query_BHE = _rotated(query_BHE, cos_BTE[row_B, last_B][:, None], sin_BTE[row_B, last_B][:, None])
        gathered_BGQE = F.scaled_dot_product_attention(
            query_BHE.unflatten(1, (-1, attention.num_key_value_groups)),  # heads that share keys are its queries
            key_BTGE.transpose(1, 2),
            value_BTGE.transpose(1, 2),
            attn_mask=(torch.arange(normal_BTD.shape[1], device=last_B.device) <= last_B[:, None])[:, None, None],
            scale=attention.scaling,
        )
        hidden_BD = hidden_states[row_B, last_B] + attention.o_proj(gathered_BGQE.flatten(1))
        hidden_BD = hidden_BD + self.mlp(self.post_attention_layernorm(hidden_BD))
        return hidden_BD[:, None]


def _rotated(vector: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    return vector * cos + rotate_half(vector) * sin
