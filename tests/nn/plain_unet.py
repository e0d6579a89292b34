"""The temporal U-Net for one window, in plain operations: agent by agent, attention in loops. Weights of seed s."""

import math

import torch
import torch.nn.functional as F


def linear(layer, x, s):
    return layer.weight[s] @ x + layer.bias[s]


def perceptron(net, x, s):
    for number, layer in enumerate(net.layers):
        x = linear(layer, F.mish(x) if number else x, s)
    return x


def conv(layer, x, s):
    run = F.conv_transpose1d if layer.up else F.conv1d
    return run(x[None], layer.weight[s], layer.bias[s], stride=layer.stride, padding=layer.padding)[0]


def block(net, x, s):
    y = conv(net.conv, x, s)
    channels, L = y.shape
    parts = y.reshape(8, channels // 8 * L)
    mean, var = parts.mean(1, keepdim=True), parts.var(1, keepdim=True, unbiased=False)
    y = ((parts - mean) / (var + 1e-5).sqrt()).reshape(channels, L)
    return F.mish(y * net.norm.weight[s][:, None] + net.norm.bias[s][:, None])


def residual(net, x, c, s):
    y = block(net.second, block(net.first, x, s) + linear(net.shift, F.mish(c), s)[:, None], s)
    return y + (x if x.shape == y.shape else conv(net.skip, x, s))


def attention(net, xs, cs, s):
    """Return x_i + g * sum_j softmax_j(q_i . k_j / sqrt(d)) v_j per head, for features xs and conditions cs."""
    q, k, v = (
        [conv(p, x, s) + linear(h, F.mish(c), s)[:, None] for x, c in zip(xs, cs, strict=True)]
        for p, h in zip(net.project, net.shift, strict=True)
    )
    found = []
    for i, x in enumerate(xs):
        heads = []
        for h in range(4):
            a, b = (q[0].shape[0] // 4, v[0].shape[0] // 4)
            part, values = slice(h * a, (h + 1) * a), slice(h * b, (h + 1) * b)
            scores = torch.stack([(q[i][part] * kj[part]).sum() for kj in k]) / math.sqrt(q[i][part].numel())
            share = torch.softmax(scores, 0)
            heads.append(sum(w * vj[values] for w, vj in zip(share, v, strict=True)))
        found.append(x + net.gate.value[s] * torch.cat(heads))
    return found


def condition(net, level, total, keep, s):
    angles = [float(level * f) for f in net.frequencies]
    wave = torch.tensor([math.sin(a) for a in angles] + [math.cos(a) for a in angles], dtype=total.dtype)
    return torch.cat([perceptron(net.level, wave, s), keep * perceptron(net.total, total.reshape(1), s)])


def plain_unet(net, x, level, total, keep, s=0):
    """Return the noise (L, N, D) of one window x (L, N, D); total and keep (N,)."""
    agents = range(x.shape[1])
    cs = [condition(net.condition, level, total[i], keep[i], s) for i in agents]
    hs, skips = [x[:, i].T for i in agents], []

    def pair(blocks, hs):
        return [residual(blocks[1], residual(blocks[0], hs[i], cs[i], s), cs[i], s) for i in agents]

    def met(number, hs):
        return attention(net.meet[number], hs, cs, s) if len(net.meet) else hs

    for number, blocks in enumerate(net.down):
        hs = pair(blocks, hs)
        skips.append(hs)
        if number < len(net.shorten):
            hs = [conv(net.shorten[number], h, s) for h in hs]
    hs = met(0, pair(net.middle, hs))
    for number, blocks in enumerate(net.up):
        skip = met(number + 1, skips.pop())
        hs = pair(blocks, [torch.cat([h, k]) for h, k in zip(hs, skip, strict=True)])
        hs = [conv(net.lengthen[number], h, s) for h in hs]
    return torch.stack([conv(net.output, block(net.last, h, s), s).T for h in hs], 1)
