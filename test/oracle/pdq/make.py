"""Writes hashes.json: what the PyPI package pdqhash (0.2.x, Facebook's C++) says about drawn pictures.

    pip install pdqhash numpy && python make.py

The pictures are drawn by integer arithmetic alone, so that Pdq.test.ts draws the same ones.
"""

import json
import pathlib

import numpy
import pdqhash


def picture(width, height, seed):
    """Grey [h, w] uint8: blocks of a hash of their position over a ramp."""
    rows = []
    for y in range(height):
        row = []
        for x in range(width):
            block = ((x // 9) * 73856093) ^ ((y // 7) * 19349663) ^ (seed * 83492791)
            block = (block * 2654435761) % 4294967296 >> 24
            ramp = (x * 255 // (width - 1) + y * 255 // (height - 1)) // 2
            row.append((block * (seed % 4) + ramp * 3) // (3 + seed % 4))
        rows.append(row)
    return numpy.array(rows, dtype=numpy.uint8)


cases = []
for seed, (width, height) in enumerate([(64, 64), (96, 80), (128, 128), (200, 150), (320, 180), (333, 257), (512, 512), (100, 400)]):
    grey = picture(width, height, seed)
    bits, quality = pdqhash.compute(numpy.stack([grey] * 3, axis=-1))
    digits = "".join(str(int(bit)) for bit in bits)
    cases.append({"seed": seed, "width": width, "height": height, "hash": f"{int(digits, 2):064x}", "quality": int(quality)})
pathlib.Path(__file__).with_name("hashes.json").write_text(json.dumps(cases, indent=2) + "\n")
