"""``--compile``: what torch's compiler makes of a run, and what it leaves alone.

Attention inside documents depends on where each of them ends. Compiled, it would be compiled anew for
nearly every batch, for minutes; so it is called as it is, and what lies between two calls of it is compiled
once, for all lengths.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn


def compiled(step: nn.Module) -> Any:
    """A module whose forward pass is compiled."""
    import torch
    from transformers import AttentionInterface

    from dataprep.train import encoder_decoder, packed_attention

    for room in (packed_attention, encoder_decoder):
        AttentionInterface.register(room.NAME, torch.compiler.disable(room.attend))
    return torch.compile(step, dynamic=True)
