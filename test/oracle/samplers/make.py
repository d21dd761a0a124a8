"""Writes trajectories.json beside this file: what diffusers' schedulers do, for packages/models/test/Oracle.test.ts.

    pip install diffusers==0.42.1 torch numpy && python make.py

Every run has 8 numbers as its sample, a model that is a formula, and noise that is a formula:
    start[j] = sin(j + 1) * 1.5            times the scheduler's init_noise_sigma
    model(x, t) = 0.6 sin(2 x) + 0.3 cos(t / 150)
    noise(step, j) = sqrt(2) sin(12.9898 (j + 1) + 78.233 (step + 1))
"""
import json
import math
import os

import diffusers
import numpy as np
import torch
from diffusers import (DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler, EulerDiscreteScheduler,
                       FlowMatchEulerDiscreteScheduler, UniPCMultistepScheduler)
from diffusers.schedulers import scheduling_ddim, scheduling_ddpm

N = 8
step_now = 0


def noise(shape, **_):
    j = np.arange(N, dtype=np.float64)
    values = math.sqrt(2) * np.sin(12.9898 * (j + 1) + 78.233 * (step_now + 1))
    return torch.tensor(values, dtype=torch.float32).reshape(shape)


scheduling_ddpm.randn_tensor = noise
scheduling_ddim.randn_tensor = noise

BETAS = {"linear": "linear", "scaled-linear": "scaled_linear", "cosine": "squaredcos_cap_v2"}
PREDICTIONS = {"epsilon": "epsilon", "sample": "sample", "v": "v_prediction", "flow": "flow_prediction"}


def model(x, t):
    return 0.6 * torch.sin(2 * x) + 0.3 * math.cos(float(t) / 150)


def numbers(xs):
    return [float(f"{float(x):.7g}") for x in xs]


def run(sampler, steps, schedule, options):
    global step_now
    flow = schedule["kind"] == "flow"
    common = {"num_train_timesteps": schedule.get("trainSteps", 1000)}
    if not flow:
        common |= {"beta_schedule": BETAS[schedule.get("betas", "linear")],
                   "beta_start": schedule.get("betaStart", 1e-4), "beta_end": schedule.get("betaEnd", 0.02),
                   "rescale_betas_zero_snr": schedule.get("zeroTerminalSnr", False)}
        if "spacing" in options:
            common["timestep_spacing"] = options["spacing"]
        if "offset" in options:
            common["steps_offset"] = options["offset"]
    if sampler != "flow-euler":
        common["prediction_type"] = PREDICTIONS[options.get("prediction", "flow" if flow else "epsilon")]
    if sampler in ["euler", "dpm-solver", "unipc"]:
        common["final_sigmas_type"] = {"clean": "zero", "first": "sigma_min"}[options.get("end", "clean")]
    if flow and sampler != "flow-euler":
        common |= {"use_flow_sigmas": True, "flow_shift": schedule.get("shift", 1)}
    step_args = {}
    clip = options.get("clip")
    clips = {"clip_sample": clip is not None, "clip_sample_range": clip or 1.0}
    if sampler == "ddpm":
        s = DDPMScheduler(**common, **clips, variance_type="fixed_" + options.get("variance", "small"))
    elif sampler == "ddim":
        s = DDIMScheduler(**common, **clips, set_alpha_to_one=options.get("end", "clean") == "clean")
        step_args["eta"] = options.get("eta", 0.0)
    elif sampler == "euler":
        s = EulerDiscreteScheduler(**common)
    elif sampler == "flow-euler":
        s = FlowMatchEulerDiscreteScheduler(**common, shift=schedule.get("shift", 1))
    elif sampler == "dpm-solver":
        s = DPMSolverMultistepScheduler(**common, solver_order=options.get("order", 2),
                                        lower_order_final=options.get("lowerOrderFinal", True))
    else:
        s = UniPCMultistepScheduler(**common, solver_order=options.get("order", 2),
                                    lower_order_final=options.get("lowerOrderFinal", True))
    s.set_timesteps(steps)
    start = torch.tensor(np.sin(np.arange(N) + 1.0) * 1.5, dtype=torch.float32).reshape(1, 2, 2, 2)
    x = start * float(getattr(s, "init_noise_sigma", 1.0))
    path = []
    for step_now, t in enumerate(s.timesteps):
        scaled = s.scale_model_input(x, t) if hasattr(s, "scale_model_input") else x
        x = s.step(model(scaled, t), t, x, **step_args).prev_sample
        path.append(numbers(x.flatten()))
    return {"sampler": sampler, "steps": steps, "schedule": schedule, "options": options,
            "timesteps": numbers(s.timesteps), "path": path}


def cases():
    linear = {"kind": "discrete"}
    scaled = {"kind": "discrete", "betas": "scaled-linear", "betaStart": 0.00085, "betaEnd": 0.012}
    cosine = {"kind": "discrete", "betas": "cosine"}
    zero = {**scaled, "zeroTerminalSnr": True}
    for sampler in ["ddpm", "ddim", "euler", "dpm-solver", "unipc"]:
        for prediction in ["epsilon", "sample", "v"]:
            yield sampler, 10, linear, {"prediction": prediction}
        yield sampler, 20, scaled, {"prediction": "epsilon", "spacing": "leading", "offset": 1}
        yield sampler, 7, cosine, {"prediction": "v", "spacing": "leading"}
        yield sampler, 8, zero, {"prediction": "v", "spacing": "trailing"}
    yield "ddpm", 10, linear, {"variance": "large", "clip": 1}
    yield "ddim", 10, linear, {"eta": 0.5, "clip": 1}
    yield "ddim", 10, linear, {"eta": 1, "prediction": "v", "end": "first"}
    for sampler in ["euler", "dpm-solver", "unipc"]:
        yield sampler, 10, linear, {"end": "first"}
    yield "unipc", 10, linear, {"end": "first", "lowerOrderFinal": False}
    yield "dpm-solver", 16, linear, {"end": "first", "prediction": "v"}
    yield "dpm-solver", 16, scaled, {"order": 2, "lowerOrderFinal": False}
    for sampler in ["dpm-solver", "unipc"]:
        yield sampler, 10, linear, {"order": 1}
        for shift, steps in [(1, 10), (3, 10), (5, 20)]:
            yield sampler, steps, {"kind": "flow", "shift": shift}, {"prediction": "flow", "order": 2}
        yield sampler, 6, {"kind": "flow", "shift": 3}, {"order": 1}
    for shift, steps in [(1, 10), (3, 10), (5, 20)]:
        yield "flow-euler", steps, {"kind": "flow", "shift": shift}, {}


runs = [run(*case) for case in cases()]
schedules = []
for name, betas in BETAS.items():
    for rescale in [False, True]:
        s = DDPMScheduler(beta_schedule=betas, rescale_betas_zero_snr=rescale)
        at = [0, 1, 10, 250, 500, 900, 998, 999]
        schedules.append({"betas": name, "zeroTerminalSnr": rescale, "at": at,
                          "alphasCumprod": [float(s.alphas_cumprod[t]) for t in at]})
with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "trajectories.json"), "w") as out:
    out.write('{"diffusers": "%s", "torch": "%s",\n"schedules": [\n' % (diffusers.__version__, torch.__version__.split("+")[0]))
    out.write(",\n".join(json.dumps(s) for s in schedules) + '\n],\n"runs": [\n')
    out.write(",\n".join(json.dumps(r, separators=(",", ":")) for r in runs) + "\n]}\n")
print(len(runs), "runs")
