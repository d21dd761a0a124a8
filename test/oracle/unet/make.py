"""Writes tiny.safetensors: what diffusers' UNet3DConditionModel makes of random weights and inputs, at a tiny size.

    pip install torch==2.15.* diffusers==0.42.* transformers safetensors && python make.py

Every weight is random, those that diffusers begins with zeros too: otherwise the layers over time would not show.
Matrices and kernels are scaled by their fan-in, so that values stay of order 1, and all weights are rounded to half
precision, so that they are exact in a small file. They are kept by their own keys, beside the inputs and the outputs
for two pairs of timesteps; the forward pass runs in float64, so that what is compared is our rounding alone. Prints
the published configuration's count of weights, which a test states.
"""

import pathlib

import torch
from diffusers import UNet3DConditionModel
from safetensors.torch import save_file

here = pathlib.Path(__file__).parent

torch.manual_seed(7)


def random(name, tensor):
    deviation = 0.2 if tensor.ndim == 1 else tensor[0].numel() ** -0.5
    # One-dimensional weights are the gains of norms.
    mean = 1.0 if tensor.ndim == 1 and name.endswith("weight") else 0.0
    return (mean + deviation * torch.randn(tensor.shape)).half()


model = UNet3DConditionModel(
    block_out_channels=(8, 8, 12),
    down_block_types=("CrossAttnDownBlock3D", "CrossAttnDownBlock3D", "DownBlock3D"),
    up_block_types=("UpBlock3D", "CrossAttnUpBlock3D", "CrossAttnUpBlock3D"),
    layers_per_block=1,
    norm_num_groups=4,
    cross_attention_dim=6,
    attention_head_dim=2,
)
weights = {name: random(name, tensor) for name, tensor in model.state_dict().items()}
model.load_state_dict(weights)
model = model.double().eval()

latents = torch.randn(2, 4, 3, 8, 8)
text = torch.randn(2, 5, 6)
tensors = {**weights, "io.latents": latents, "io.text": text}
with torch.no_grad():
    for case, timesteps in {"late": [999, 501], "early": [0, 20]}.items():
        out = model(latents.double(), torch.tensor(timesteps), text.double()).sample
        tensors[f"io.timestep.{case}"] = torch.tensor(timesteps, dtype=torch.float32)
        tensors[f"io.out.{case}"] = out.float()
        print(case, "deviation", out.std().item(), "largest", out.abs().max().item())
    # What the layers over time do: the same frames in another order are not the same clip.
    order = [1, 0, 2]
    other = model(latents[:, :, order].double(), torch.tensor([999, 501]), text.double()).sample[:, :, order]
    print("change by order of frames", (other - tensors["io.out.late"]).abs().max().item())

save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, here / "tiny.safetensors")

with torch.device("meta"):
    published = UNet3DConditionModel()
sizes = [tensor.numel() for tensor in published.state_dict().values()]
print("published", len(sizes), "weights", sum(sizes), "parameters")
