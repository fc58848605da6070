"""Makes the files of this directory with Pillow, NumPy, pandas and polars: what other programs write and how Pillow reads and resizes it.

Pillow 13 resizes columns before rows where that is less work, which changes some bytes by one.

    pip install "pillow<13" numpy pandas pyarrow polars
    python3 make.py
"""

import io
import json

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

y, x = np.mgrid[0:23, 0:37]
rgb = np.stack([x * 6 % 256, y * 11 % 256, (x * y * 3) % 256], axis=2).astype(np.uint8)
rgb[5:12, 8:20] = [250, 20, 30]
image = Image.fromarray(rgb)
image.save("rgb.png")
image.save("rgb.jpg", quality=90)
image.save("sampled.jpg", quality=75, subsampling="4:2:0")
image.save("progressive.jpg", quality=85, progressive=True)
image.convert("L").save("grey.jpg", quality=90)
image.convert("L").save("grey.png")
image.convert("P", palette=Image.Palette.ADAPTIVE, colors=16).save("palette.png")
image.convert("1").save("bits.png")
image.convert("CMYK").save("cmyk.jpg")
exif = Image.Exif()
exif[0x0112] = 6
image.save("turned.jpg", quality=90, exif=exif)
alpha = np.dstack([rgb, (x * 7 % 256).astype(np.uint8)])
Image.fromarray(alpha).save("alpha.png")
Image.fromarray((x * 1700 % 65536).astype(np.uint16)).save("sixteen.png")
for name in ["rgb.jpg", "sampled.jpg", "progressive.jpg", "grey.jpg"]:
    Image.open(name).save(name.replace(".jpg", ".jpg.png"))
for size in [(16, 16), (50, 9), (37, 40)]:
    image.resize(size, Image.Resampling.BILINEAR).save(f"rgb.{size[0]}x{size[1]}.png")
image.convert("L").save("rgb.grey.png")

a = np.arange(12, dtype=np.float64).reshape(3, 4) / 4
np.save("f8.npy", a)
np.save("fortran.npy", np.asfortranarray(a))
np.save("big.npy", a.astype(">f4"))
np.save("half.npy", a.astype(np.float16))
np.save("labels.npy", np.array([2, 0, 1]))
np.save("texts.npy", np.array(["b", "ä", "a"]))
np.savez_compressed("arrays.npz", x_train=(rgb[None].repeat(3, 0)), y_train=np.array([1, 0, 2], dtype=np.uint8),
                    x_test=rgb[None], y_test=np.array([0], dtype=np.uint8))


def png(array):
    out = io.BytesIO()
    Image.fromarray(array).save(out, "PNG")
    return out.getvalue()


images = [{"bytes": png(rgb[i:i + 8, i:i + 8]), "path": f"{i}.png"} for i in range(4)]
table = pa.table({"image": images, "label": pa.array([1, 0, 1, 1])})
features = {"image": {"_type": "Image"}, "label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}
meta = {"huggingface": json.dumps({"info": {"features": features}})}
pq.write_table(table.replace_schema_metadata(meta), "hub.parquet")

metrics = pd.DataFrame({"epoch": [1, 2, 3], "accuracy": [0.5, 0.75, 0.875], "loss": [1.0, None, 0.5], "note": ["a", "b", "c"]})
for codec in ["snappy", "gzip", "brotli", "lz4", "zstd", "none"]:
    metrics.to_parquet(f"pandas.{codec}.parquet", compression=None if codec == "none" else codec)
frame = pl.from_pandas(metrics)
for codec in ["snappy", "gzip", "brotli", "lz4", "zstd"]:
    frame.write_parquet(f"polars.{codec}.parquet", compression=codec)
