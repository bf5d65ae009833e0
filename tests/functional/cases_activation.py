"""Cases of purenn/functional/activation.py."""

from oracle import Case, t, v

EDGES = v([-100.0, -20.0, -3.0, -1.0, -0.5, -0.0, 0.0, 0.5, 1.0, 3.0, 20.0, 21.0, 100.0])

CASES = [
    Case("relu", (t(3, 4),)),
    Case("relu", (EDGES,)),
    Case("relu_", (t(3, 4),), grad=False),
    Case("softplus", (t(3, 4),)),
    Case("softplus", (EDGES, 2.0, 10)),
]
