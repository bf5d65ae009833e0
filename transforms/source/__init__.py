"""to_source: a converted torch model as readable Python.

`modes` makes one program of the two modes, `regions` cuts it into the calls of submodules, `writing` writes the body of
each, with expressions from the tables ``spell_*`` and names from `statements`, `loops` and `sharing` fold what repeats,
`printing` puts the file together.
"""
