"""Cases of purenn/functional/distance.py."""

import math

from oracle import Case, ints, t, v

ROWS = [[0.0, 1.0, 1.0], [1.0, 2.0, 1.0], [0.0, 1.0, 1.0], [3.0, -1.0, 0.0]]

CASES = [
    Case("cosine_similarity", (t(4, 3), t(4, 3))),
    Case("cosine_similarity", (t(2, 3, 4), t(3, 1)), {"dim": -1, "eps": 0.5}),
    Case("cosine_similarity", (t(2, 3), ints(2, 3, low=1)), {"dim": 0}),
    Case("cosine_similarity", (v([[0.3, 0.4], [1.0, -1.0]]), t(2, 2)), {"eps": 10.0}),
    Case("cosine_similarity", (t(0, 3), t(0, 3))),
    Case("cosine_similarity", (t(2, 0), t(2, 0))),
    Case("pairwise_distance", (t(4, 3), t(4, 3))),
    Case("pairwise_distance", (t(2, 4, 3), t(3)), {"p": 1.0, "keepdim": True}),
    Case("pairwise_distance", (v(ROWS), v([0.0, 1.0, 1.0])), {"p": 2.0, "eps": 0.0}),
    Case("pairwise_distance", (v(ROWS), v([1.0, 0.0, 1.0])), {"p": math.inf, "eps": 0.0}),
    Case("pairwise_distance", (t(3, 2), t(3, 2)), {"p": -1.5, "eps": 0.1}),
    Case("pairwise_distance", (ints(4, 3), ints(4, 3)), {"p": 3.0}),
    Case("pairwise_distance", (v(1.0), v(3.0))),
    Case("pairwise_distance", (t(2, 0), t(2, 0))),
    # torch has no 16-bit kernel for pdist
    Case("pdist", (t(4, 3),), half=False),
    *(Case("pdist", (v(ROWS),), {"p": p}, half=False) for p in (0.0, 0.5, 1.0, 2.0, 3.0, math.inf)),
    Case("pdist", (t(1, 3),), {"p": 1.5}, half=False),
    Case("pdist", (t(3, 0),), {"p": math.inf}, half=False),
]
