"""Records what PyTorch, Keras and NumPy draw as first weights, for ../initial_weights.rs.

    pip install torch keras numpy scipy
    KERAS_BACKEND=torch python3 inits.py > inits.json

Of random rules: quantiles over a million numbers for a dense weight [200, 300] and a convolution
[8, 4, 3, 3]; of the others: the numbers. Keras keeps weights as (in, out) and (kh, kw, in, out).
"""

import json
import math
import os

os.environ.setdefault("KERAS_BACKEND", "torch")

import keras
import numpy as np
import scipy.linalg
import torch

SHARES = [0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99]
DENSE, CONV = (200, 300), (8, 4, 3, 3)
torch.manual_seed(0)


def quantiles(draw, count):
    values = np.concatenate([np.ravel(draw()) for _ in range(count)]).astype(np.float64)
    return {
        "quantiles": np.quantile(values, SHARES).tolist(),
        "mean": values.mean(),
        "std": values.std(),
        "largest": np.abs(values).max(),
    }


def by_torch(name, shape, **options):
    def draw():
        weight = torch.empty(shape)
        getattr(torch.nn.init, name)(weight, **options)
        return weight.numpy()

    return draw


def by_keras(initialiser, shape):
    theirs = shape[::-1] if len(shape) == 2 else (shape[2], shape[3], shape[1], shape[0])
    return lambda: keras.ops.convert_to_numpy(initialiser(theirs))


def case(rule, draw):
    of_shape = {}
    for label, shape in [("dense", DENSE), ("conv", CONV)]:
        count = math.ceil(1e6 / math.prod(shape))
        of_shape[label] = quantiles(draw(shape), count)
    return {"init": rule, **of_shape}


def torch_case(name, **options):
    rule = {"torch": {name: options}}
    return case(rule, lambda shape: by_torch(name, shape, **options))


def keras_case(name, made, options=None):
    rule = {"keras": name if options is None else {name: options}}
    return case(rule, lambda shape: by_keras(made, shape))


def layer_case():
    """The weights of `torch.nn.Linear` and `Conv2d` as they are made."""
    makes = {2: lambda s: torch.nn.Linear(s[1], s[0]), 4: lambda s: torch.nn.Conv2d(s[1], s[0], s[2])}
    return case("pytorch", lambda shape: lambda: makes[len(shape)](shape).weight.detach().numpy())


k = keras.initializers
random = [
    layer_case(),
    torch_case("uniform_", a=-0.1, b=0.3),
    torch_case("normal_", mean=0.2, std=0.5),
    torch_case("xavier_uniform_", gain=2.0),
    torch_case("xavier_normal_", gain=0.5),
    torch_case("trunc_normal_", mean=0.1, std=1.0, a=-0.5, b=2.0),
] + [
    torch_case(f"kaiming_{shape}_", a=0.3, mode=mode, nonlinearity=after)
    for shape, mode, after in [
        ("uniform", "fan_in", "relu"),
        ("uniform", "fan_out", "tanh"),
        ("normal", "fan_in", "leaky_relu"),
        ("normal", "fan_out", "selu"),
        ("normal", "fan_in", "linear"),
        ("uniform", "fan_in", "sigmoid"),
    ]
]


def fresh(cls, **options):
    """An initialiser that draws anew at each call: an integer seed would repeat itself."""
    return cls(seed=keras.random.SeedGenerator(1), **options)


for name, cls in [
    ("glorot_uniform", k.GlorotUniform),
    ("glorot_normal", k.GlorotNormal),
    ("he_uniform", k.HeUniform),
    ("he_normal", k.HeNormal),
    ("lecun_uniform", k.LecunUniform),
    ("lecun_normal", k.LecunNormal),
]:
    random.append(keras_case(name, fresh(cls)))
for name, cls, options in [
    ("random_uniform", k.RandomUniform, {}),
    ("random_uniform", k.RandomUniform, {"minval": 0.1, "maxval": 0.4}),
    ("random_normal", k.RandomNormal, {}),
    ("truncated_normal", k.TruncatedNormal, {}),
    ("truncated_normal", k.TruncatedNormal, {"mean": 0.3, "stddev": 0.2}),
    ("variance_scaling", k.VarianceScaling, {}),
    ("variance_scaling", k.VarianceScaling, {"scale": 0.5, "mode": "fan_out", "distribution": "uniform"}),
    (
        "variance_scaling",
        k.VarianceScaling,
        {"scale": 3.0, "mode": "fan_avg", "distribution": "untruncated_normal"},
    ),
]:
    random.append(keras_case(name, fresh(cls, **options), options))


def zero(m, n):
    """As `ZerO_Init_on_matrix` of the authors' example_mnist.ipynb."""
    if m <= n:
        return np.eye(m, n)
    clog = math.ceil(math.log2(m))
    p = 2**clog
    return np.eye(m, p) @ (scipy.linalg.hadamard(p) / 2 ** (clog / 2)) @ np.eye(p, n)


def exact(rule, shape, values):
    return {"init": rule, "shape": shape, "values": np.ravel(values).astype(np.float64).tolist()}


fixed = []
for shape in [(3, 5), (5, 3)]:
    fixed.append(exact({"torch": "eye_"}, shape, torch.nn.init.eye_(torch.empty(shape))))
    theirs = keras.ops.convert_to_numpy(k.Identity(gain=2.0)(shape[::-1]))
    fixed.append(exact({"keras": {"identity": {"gain": 2.0}}}, shape, theirs.T))
    fixed.append(exact("hadamard", shape, zero(*shape)))
for shape in [(4, 2, 3, 3), (2, 4, 5, 5), (3, 3, 2, 2)]:
    fixed.append(exact({"torch": "dirac_"}, shape, torch.nn.init.dirac_(torch.empty(shape))))

matrix = np.array([[2.0, -1.0, 0.5, 3.0], [1.0, 1.0, -2.0, 0.25], [0.0, 4.0, 1.0, -1.0]]).T
q, r = np.linalg.qr(matrix)
print(
    json.dumps(
        {
            "versions": {"torch": torch.__version__, "keras": keras.__version__, "numpy": np.__version__},
            "shares": SHARES,
            "random": random,
            "fixed": fixed,
            "rows_of_q_transposed": (q * np.sign(np.diag(r))).T.ravel().tolist(),
        },
        indent=1,
    )
)
