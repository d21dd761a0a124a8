"""The training step of torch.bench.ts in PyTorch: WanTransformer3DModel's structure in plain modules, AdamW, clipping.

    python torchStep.py FOLDER '{"threads": 1, ...}'

Reads weights.safetensors and batch.safetensors from the folder. Each line of standard input is a number of steps; each
line of output is JSON: CPU and wall time of those steps in milliseconds, and their losses. Ends with its input.

Tried, and no different within the spread between runs (CPU, one thread): foreach AdamW, rotation by complex products
and by strided slices, RMS norm composed of elementary operations, clipping without foreach, larger thresholds of malloc.
"""

import json
import math
import os
import resource
import sys
import time

# Threads that wait sleep, as those of onnxruntime there: spinning costs two threads twice the CPU time.
os.environ["OMP_WAIT_POLICY"] = "PASSIVE"

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn


def rotation(head, grid):
    """cos and sin [S, head / 2] of the positions of all tokens, as Wan2.1."""
    space = 2 * (head // 6)
    angles = []
    for axis, (size, dims) in enumerate(zip(grid, (head - 2 * space, space, space))):
        frequencies = 10000.0 ** (-torch.arange(0, dims, 2, dtype=torch.float64) / dims)
        along = torch.arange(size, dtype=torch.float64)[:, None] * frequencies
        shape = [1, 1, 1, dims // 2]
        shape[axis] = size
        angles.append(along.view(shape).expand(*grid, dims // 2))
    angles = torch.cat(angles, dim=-1).reshape(-1, head // 2)
    return angles.cos().float(), angles.sin().float()


def rotate(x, cos, sin):
    """Turns neighbouring pairs of [B, S, H, D]."""
    u, v = x.unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack((u * cos - v * sin, u * sin + v * cos), dim=-1).flatten(-2)


class Attention(nn.Module):
    def __init__(self, dim, heads, eps):
        super().__init__()
        self.heads = heads
        self.to_q, self.to_k, self.to_v = (nn.Linear(dim, dim) for _ in range(3))
        self.to_out = nn.ModuleList([nn.Linear(dim, dim)])
        self.norm_q, self.norm_k = (nn.RMSNorm(dim, eps=eps) for _ in range(2))

    def forward(self, x, source, table=None):
        q, k, v = (
            part.unflatten(-1, (self.heads, -1))
            for part in (self.norm_q(self.to_q(x)), self.norm_k(self.to_k(source)), self.to_v(source))
        )
        if table is not None:
            q, k = rotate(q, *table), rotate(k, *table)
        attended = F.scaled_dot_product_attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2))
        return self.to_out[0](attended.transpose(1, 2).flatten(2))


class Projection(nn.Module):
    def __init__(self, dim, ffn):
        super().__init__()
        self.proj = nn.Linear(dim, ffn)

    def forward(self, x):
        return F.gelu(self.proj(x), approximate="tanh")


class FeedForward(nn.Module):
    def __init__(self, dim, ffn):
        super().__init__()
        self.net = nn.Sequential(Projection(dim, ffn), nn.Identity(), nn.Linear(ffn, dim))

    def forward(self, x):
        return self.net(x)


class Block(nn.Module):
    def __init__(self, dim, heads, ffn, eps):
        super().__init__()
        self.norm = nn.LayerNorm(dim, eps=eps, elementwise_affine=False)
        self.norm2 = nn.LayerNorm(dim, eps=eps)
        self.attn1, self.attn2 = Attention(dim, heads, eps), Attention(dim, heads, eps)
        self.ffn = FeedForward(dim, ffn)
        self.scale_shift_table = nn.Parameter(torch.zeros(1, 6, dim))

    def forward(self, x, text, time, table):
        shift, scale, gate, c_shift, c_scale, c_gate = (self.scale_shift_table + time).chunk(6, dim=1)
        h = self.norm(x) * (1 + scale) + shift
        x = x + self.attn1(h, h, table) * gate
        x = x + self.attn2(self.norm2(x), text)
        return x + self.ffn(self.norm(x) * (1 + c_scale) + c_shift) * c_gate


class Embedding(nn.Module):
    def __init__(self, inputs, dim):
        super().__init__()
        self.linear_1, self.linear_2 = nn.Linear(inputs, dim), nn.Linear(dim, dim)

    def forward(self, x, activation):
        return self.linear_2(activation(self.linear_1(x)))


class Conditions(nn.Module):
    def __init__(self, dim, freq, text):
        super().__init__()
        self.time_embedder, self.text_embedder = Embedding(freq, dim), Embedding(text, dim)
        self.time_proj = nn.Linear(dim, 6 * dim)
        half = freq // 2
        frequencies = 10000.0 ** (-torch.arange(half, dtype=torch.float64) / half)
        self.register_buffer("frequencies", frequencies.float(), persistent=False)

    def forward(self, timestep, text):
        angles = timestep[:, None] * self.frequencies
        time = self.time_embedder(torch.cat((angles.cos(), angles.sin()), dim=1), F.silu)
        states = self.text_embedder(text, lambda x: F.gelu(x, approximate="tanh"))
        return time, self.time_proj(F.silu(time)).unflatten(1, (6, -1)), states


class Transformer(nn.Module):
    def __init__(self, dim, heads, layers, ffn, textDim, freqDim, inChannels, outChannels, patch, eps, grid):
        super().__init__()
        self.grid, self.patch, self.channels = grid, patch, outChannels
        self.patch_embedding = nn.Conv3d(inChannels, dim, patch, patch)
        self.condition_embedder = Conditions(dim, freqDim, textDim)
        self.blocks = nn.ModuleList(Block(dim, heads, ffn, eps) for _ in range(layers))
        self.norm = nn.LayerNorm(dim, eps=eps, elementwise_affine=False)
        self.scale_shift_table = nn.Parameter(torch.zeros(1, 2, dim))
        self.proj_out = nn.Linear(dim, outChannels * math.prod(patch))
        self.table = tuple(part[:, None] for part in rotation(dim // heads, grid))

    def forward(self, latents, timestep, text):
        time, modulation, text = self.condition_embedder(timestep, text)
        x = self.patch_embedding(latents).flatten(2).transpose(1, 2)
        for block in self.blocks:
            x = block(x, text, modulation, self.table)
        shift, scale = (self.scale_shift_table + time[:, None]).chunk(2, dim=1)
        x = self.proj_out(self.norm(x) * (1 + scale) + shift)
        x = x.view(-1, *self.grid, *self.patch, self.channels).permute(0, 7, 1, 4, 2, 5, 3, 6)
        return x.reshape(latents.shape)


def cpu():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return (usage.ru_utime + usage.ru_stime) * 1000


def main():
    folder, settings = sys.argv[1], json.loads(sys.argv[2])
    torch.set_num_threads(settings["threads"])
    model = Transformer(**settings["model"])
    model.load_state_dict(load_file(f"{folder}/weights.safetensors"))
    batch = load_file(f"{folder}/batch.safetensors")
    decays = set(settings["decays"])
    groups = [
        {"params": [p for name, p in model.named_parameters() if name in decays], "weight_decay": settings["decay"]},
        {"params": [p for name, p in model.named_parameters() if name not in decays], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=settings["rate"], fused=True)

    def step():
        optimizer.zero_grad(set_to_none=True)
        prediction = model(batch["latents"], batch["timestep"], batch["text"])
        loss = F.mse_loss(prediction, batch["target"])
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), settings["clip"], foreach=True)
        optimizer.step()
        return loss.item()

    print(json.dumps({"torch": torch.__version__}), flush=True)
    for line in sys.stdin:
        begun, from_cpu = time.perf_counter(), cpu()
        losses = [step() for _ in range(int(line))]
        took = {"cpu": cpu() - from_cpu, "wall": (time.perf_counter() - begun) * 1000}
        print(json.dumps({**took, "losses": losses}), flush=True)


main()
