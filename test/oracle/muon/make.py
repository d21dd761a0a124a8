"""Writes trajectories.json: a few steps of torch.optim.Muon beside torch.optim.AdamW.

    pip install torch==2.15.* && python make.py

Muon has the matrices, AdamW the bias; gradients are clipped by their norm together (torch.nn.utils.clip_grad_norm_).
All is float64. torch.optim.Muon casts to bfloat16 for its Newton-Schulz iterations; here that one cast is taken out of
its source before it is used, and nothing else is changed, so that what is compared is the formula and not the rounding.
"""

import inspect
import json
import pathlib

import torch
from torch.optim import _muon

here = pathlib.Path(__file__).parent

cast = "grad.to(dtype=torch.bfloat16, copy=True)"
source = inspect.getsource(_muon._zeropower_via_newtonschulz)
assert source.count(cast) == 1
exec(source.replace(cast, "grad.clone()"), _muon.__dict__)

shapes = {"tall": (9, 4), "wide": (4, 9), "square": (6, 6), "near": (8, 6), "bias": (5,)}
decaying = ["tall", "square"]
steps = 6
clip = 2.0
decay = 0.1

cases = {
    "as published by PyTorch, rates as AdamW's": {
        "momentum": 0.95,
        "nesterov": True,
        "scaling": "match_rms_adamw",
    },
    "no look ahead, rates as first published": {
        "momentum": 0.9,
        "nesterov": False,
        "scaling": "original",
    },
}


def numbers(tensor):
    return [float(f"{x:.9g}") for x in tensor.flatten().tolist()]


def main():
    generator = torch.Generator().manual_seed(11)

    def noise(shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64).float().double()

    start = {name: noise(shape) for name, shape in shapes.items()}
    # A common direction, so that the momentum is not all noise.
    drift = {name: noise(shape) for name, shape in shapes.items()}
    gradients = [
        {name: (drift[name] + 0.5 * noise(shape)).float().double() for name, shape in shapes.items()}
        for _ in range(steps)
    ]
    found = []
    for title, options in cases.items():
        parameters = {name: torch.nn.Parameter(value.clone()) for name, value in start.items()}
        matrices = [name for name in shapes if name != "bias"]
        muon = torch.optim.Muon(
            [{"params": [parameters[name]], "weight_decay": decay if name in decaying else 0.0} for name in matrices],
            momentum=options["momentum"],
            nesterov=options["nesterov"],
            adjust_lr_fn=options["scaling"],
        )
        adamw = torch.optim.AdamW([parameters["bias"]], betas=(0.9, 0.99), weight_decay=0.0)
        trajectory = []
        for t, gradient in enumerate(gradients, 1):
            for name, parameter in parameters.items():
                parameter.grad = gradient[name].clone()
            norm = torch.nn.utils.clip_grad_norm_(parameters.values(), clip)
            for optimizer in (muon, adamw):
                for group in optimizer.param_groups:
                    group["lr"] = 0.05 * t / 10
                optimizer.step()
            trajectory.append(
                {
                    "norm": float(norm),
                    "parameters": {name: numbers(parameter.detach()) for name, parameter in parameters.items()},
                }
            )
        moments = {name: numbers(muon.state[parameters[name]]["momentum_buffer"]) for name in matrices}
        found.append({"title": title, "options": options, "steps": trajectory, "moments": moments})
    content = {
        "torch": torch.__version__.split("+")[0],
        "shapes": shapes,
        "decaying": decaying,
        "clip": clip,
        "weightDecay": decay,
        "start": {name: numbers(value) for name, value in start.items()},
        "gradients": [{name: numbers(value) for name, value in gradient.items()} for gradient in gradients],
        "cases": found,
    }
    (here / "trajectories.json").write_text(json.dumps(content) + "\n")


main()
