"""Cases of purenn/functional/linear.py."""

from oracle import Case, t

CASES = [
    Case("linear", (t(5, 3), t(4, 3), t(4))),
    Case("linear", (t(3), t(4, 3))),
    Case("linear", (t(2, 5, 3), t(4, 3), t(4)), batch=(0, 2)),
    Case("linear", (t(2, 3), t(3))),
    Case("linear", (t(0, 3), t(4, 3), t(4))),
]
