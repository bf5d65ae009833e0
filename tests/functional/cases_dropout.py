"""Cases of purenn/functional/dropout.py: what draws nothing equals torch; the draws have laws in test_dropout.py."""

from oracle import Case, ints, t

SHAPES = {
    "dropout": (3, 4),
    "dropout1d": (2, 3, 4),
    "dropout2d": (2, 3, 2, 2),
    "dropout3d": (2, 3, 1, 2, 2),
    "alpha_dropout": (3, 4),
    "feature_alpha_dropout": (2, 3, 4),
}

CASES = [
    case
    for name, shape in SHAPES.items()
    for case in (
        Case(name, (t(*shape), 0.5, False)),
        Case(name, (t(*shape), 1.0, True)),
        Case(name, (t(*shape), 0.25, True), seeded=True),
    )
] + [
    Case("dropout", (t(3, 4), 0.0)),
    Case("dropout", (ints(3, 4), 1.0)),
    Case("alpha_dropout", (t(3, 4),)),
    Case("feature_alpha_dropout", (t(3),)),
    Case("dropout1d", (t(3, 4), 1.0)),
    Case("dropout3d", (t(3, 2, 2, 2), 1.0)),
]
