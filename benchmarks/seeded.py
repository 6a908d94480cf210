"""Seeded random weights that go through a pipeline as trained ones do."""

from __future__ import annotations


def randomise_norms(network):
    """The network with a norm's weights unlike any other's.

    Fresh ones are all 1 and 0. Equal tensors are exported once, behind Identity nodes, and a rewrite that reads a
    norm's weights would find none.
    """
    import torch

    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.dim() == 1:
                parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    return network
