"""Cases of Flatten, Unflatten, Bilinear and the transposed convolutions."""

from layer_case import Case


def transpose(rank, *args, shape=None, **kwargs):
    shape = shape or (2, args[0], *(4, 3, 2)[:rank])
    return Case(f"ConvTranspose{rank}d", args, kwargs, shape)


CASES = [
    Case("Flatten", (), {}, (2, 3, 4)),
    Case("Flatten", (), {}, (0, 3, 4)),
    Case("Flatten", (0,), {}, ()),
    Case("Flatten", (-3, -2), {}, (2, 3, 4, 5)),
    Case("Flatten", (1, 1), {}, (2, 3)),
    Case("Unflatten", (1, (2, 3)), {}, (2, 6)),
    Case("Unflatten", (-2, (-1, 2, 1)), {}, (2, 6, 3)),
    Case("Unflatten", (0, [2, 0]), {}, (0, 3)),
    Case("Bilinear", (3, 4, 5), {}, (2, 3), ((2, 4),)),
    Case("Bilinear", (3, 4, 2), {"bias": False}, (6, 2, 3), ((6, 2, 4),)),
    *(
        transpose(rank, *args, **kwargs)
        for rank in (1, 2, 3)
        for args, kwargs in [
            ((4, 6, 3), {}),
            ((4, 6, 3), {"bias": False, "stride": 2, "padding": 1, "output_padding": 1}),
            ((4, 6, 2), {"groups": 2, "dilation": 2}),
        ]
    ),
    transpose(2, 4, 6, (3, 2), (2, 3), (1, 0), (1, 2), 2),
    transpose(2, 4, 6, 3, shape=(4, 3, 3)),
    transpose(1, 4, 6, 3, shape=(0, 4, 3)),
]
