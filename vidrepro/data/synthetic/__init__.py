"""The embedded dataset: a procedural counterpart of Something-Something in which time order can be put to the test.

Where things are: `presets` (how much, how large, which classes), `draws` (everything random, blind to the class),
`scenes` (what moves in each class), `shapes`, `textures` and `render` (how it is drawn), `generator` (a clip from its
id). `vidrepro.data.sources.synthetic` writes the result to disk.
"""
