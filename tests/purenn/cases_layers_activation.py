"""Cases of the layers of purenn.layers.activation."""

from layer_case import Case

SLOPE = {"slope": "init"}  # torch's name of it is that of our first function

CASES = [
    Case("PReLU", (), renamed=SLOPE),
    Case("PReLU", (3, 0.1), {}, (4, 3, 5), renamed=SLOPE),
    Case("PReLU", (1,), {}, (3,), renamed=SLOPE),
    Case("PReLU", (1, -2.0), {}, (), renamed=SLOPE),
    Case("RReLU", (), seeded=True),
    Case("RReLU", (0.2, 0.4, True), {}, (4, 3, 2), seeded=True),
]
