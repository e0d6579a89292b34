"""`nn.fast.softmax` against torch's softmax: values, gradients, and rows that do not depend on other rows."""

import pytest
import torch

from vgm2p.nn.fast.softmax import log_softmax, softmax

PAIRS = [(softmax, torch.softmax), (log_softmax, torch.log_softmax)]


@pytest.mark.parametrize("width", [1, 4, 9, 16, 17])
@pytest.mark.parametrize(("ours", "plain"), PAIRS)
def test_values_and_gradients(ours, plain, width):
    logits = 5.0 * torch.randn(2, 7, 3, width, dtype=torch.float64, generator=torch.Generator().manual_seed(width))
    logits[..., 0] -= 1e9 * (torch.arange(3) == 1) * (width > 1)
    logits.requires_grad_()
    weight = torch.randn(logits.shape, dtype=torch.float64)
    found, wanted = ours(logits), plain(logits, -1)
    torch.testing.assert_close(found, wanted, rtol=1e-14, atol=1e-14)
    gradients = [torch.autograd.grad((weight * y).sum(), logits)[0] for y in (found, wanted)]
    torch.testing.assert_close(*gradients, rtol=0, atol=1e-12)


@pytest.mark.parametrize("ours", [softmax, log_softmax])
def test_a_row_does_not_depend_on_the_others(ours):
    logits = torch.randn(1, 50, 3, 9)
    together = ours(logits)
    for at in range(0, 45, 5):
        assert torch.equal(ours(logits[:, at : at + 5]), together[:, at : at + 5])
