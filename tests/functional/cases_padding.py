"""Cases of purenn/functional/padding.py."""

from oracle import Case, ints, t

CASES = [
    Case("pad", (t(2, 3, 5), (2, -1, 1, 3))),
    Case("pad", (t(2, 4), [1, 2], "constant", 1.5)),
    Case("pad", (t(0, 4), (1, 2))),
    Case("pad", (ints(2, 4), (-2, 1), "constant", 2.7)),
    Case("pad", (t(), ())),
    Case("pad", (t(2, 1, 5), (3, -2), "reflect")),
    Case("pad", (t(2, 4, 5), (3, 4, -1, 2), "reflect")),
    Case("pad", (t(2, 2, 3, 3, 4), (1, 0, 2, 1, 1, 2), "reflect"), half=False),  # torch has no half kernel in 3-D
    Case("pad", (t(2, 5), (-6, 7), "replicate")),
    Case("pad", (t(1, 2, 3, 4), (2, 3, 4, -2), "replicate")),
    Case("pad", (t(0, 2, 4), (1, 2), "replicate")),
    Case("pad", (t(2, 3, 5), (5, 2), "circular")),
    Case("pad", (t(2, 2, 4, 4, 4), (1, 2, 2, -1, -2, 2), "circular")),
]
