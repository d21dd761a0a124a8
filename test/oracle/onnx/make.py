"""Writes types.safetensors and adamw.json: what Python makes of the formats and formulas of packages/onnx.

    pip install numpy==2.* ml_dtypes safetensors && python make.py

types.safetensors is written by the `safetensors` package: one tensor of every element type, with metadata.
adamw.json holds ten steps of AdamW with clipping by the global norm and an exponential moving average, computed in
float64 by the formulas in PyTorch's documentation of torch.optim.AdamW and torch.nn.utils.clip_grad_norm_.
"""

import json
import pathlib

import ml_dtypes
import numpy
from safetensors.numpy import save_file

here = pathlib.Path(__file__).parent


def types():
    values = numpy.array([[0.0, -0.0, 1.0], [-2.5, 65504.0, 1e-7]])
    tensors = {
        "f64": values,
        "f32": values.astype(numpy.float32),
        "f16": values.astype(numpy.float16),
        "bf16": values.astype(ml_dtypes.bfloat16),
        "i64": numpy.array([-(2**63), 2**63 - 1, 0], dtype=numpy.int64),
        "i32": numpy.array([-(2**31), 2**31 - 1, 0], dtype=numpy.int32),
        "i16": numpy.array([[-(2**15)], [2**15 - 1]], dtype=numpy.int16),
        "i8": numpy.array([-128, 127, 0], dtype=numpy.int8),
        "u8": numpy.array([0, 255, 7], dtype=numpy.uint8),
        "bool": numpy.array([True, False, True]),
        "scalar": numpy.array(3.5, dtype=numpy.float32),
        "empty": numpy.zeros((0, 4), dtype=numpy.float32),
    }
    save_file(tensors, here / "types.safetensors", metadata={"made by": "numpy", "ünï": "✓"})


def adamw():
    b1, b2, eps, decay, clip, ema = 0.9, 0.99, 1e-8, 0.1, 0.5, 0.95
    rng = numpy.random.default_rng(7)
    parameters = {"w": rng.standard_normal((3, 2)), "b": rng.standard_normal(3)}
    start = {name: p.tolist() for name, p in parameters.items()}
    m = {name: numpy.zeros_like(p) for name, p in parameters.items()}
    v = {name: numpy.zeros_like(p) for name, p in parameters.items()}
    average = {name: p.copy() for name, p in parameters.items()}
    steps = []
    for t in range(1, 11):
        lr = 0.05 * t / 10
        gradients = {name: rng.standard_normal(p.shape) for name, p in parameters.items()}
        norm = numpy.sqrt(sum((g**2).sum() for g in gradients.values()))
        factor = min(1.0, clip / (norm + 1e-6))
        for name, p in parameters.items():
            g = gradients[name] * factor
            if name == "w":
                p = p * (1 - lr * decay)
            m[name] = b1 * m[name] + (1 - b1) * g
            v[name] = b2 * v[name] + (1 - b2) * g * g
            mean, deviation = m[name] / (1 - b1**t), numpy.sqrt(v[name] / (1 - b2**t))
            parameters[name] = p - lr * mean / (deviation + eps)
            keep = min(ema, t / (9 + t))
            average[name] = average[name] + (1 - keep) * (parameters[name] - average[name])
        steps.append(
            {
                "gradients": {name: g.tolist() for name, g in gradients.items()},
                "norm": float(norm),
                "parameters": {name: p.tolist() for name, p in parameters.items()},
                "averages": {name: p.tolist() for name, p in average.items()},
            }
        )
    options = {"beta1": b1, "beta2": b2, "epsilon": eps, "weightDecay": decay, "clip": clip, "ema": ema}
    (here / "adamw.json").write_text(json.dumps({"options": options, "start": start, "steps": steps}, indent=1) + "\n")


types()
adamw()
