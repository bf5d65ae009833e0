"""Cases of purenn/functional/fold.py."""

from oracle import Case, t

CASES = [
    Case("unfold", (t(2, 3, 6, 5), (3, 2))),
    Case("unfold", (t(2, 2, 7, 6), 3, (2, 1), (1, 2), (2, 3))),
    Case("unfold", (t(2, 4, 4), 2), {"stride": 2}),
    Case("unfold", (t(0, 2, 4, 4), 2)),
    Case("unfold", (t(2, 1, 4, 4, kind="bool"), 2), {"padding": 1}),
    Case("fold", (t(2, 18, 24), (6, 5), (3, 2), 1, (1, 0))),
    Case("fold", (t(2, 18, 9), (7, 6), 3, (2, 1), (1, 2), (2, 3))),
    Case("fold", (t(8, 4), 4, 2), {"stride": 2}),
    Case("fold", (t(0, 8, 9), (4, 4), 2)),
    Case("fold", (t(2, 4, 9, kind="bool"), 4, 2)),
]
