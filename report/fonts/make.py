#!/usr/bin/env python3
"""Makes figure-sans.ttf of LiberationSans-Regular.ttf (Liberation Fonts 2.1.5): make.py SOURCE TARGET

Latin, Greek and the signs of figures, without hints and kerning. The licence (LICENSE) wants another
name for what is changed. Needs fonttools.
"""

import sys

from fontTools.subset import Options, Subsetter
from fontTools.ttLib import TTFont

source, target = sys.argv[1:]
font = TTFont(source)
wanted = [*range(0x20, 0x7F), *range(0xA0, 0x180), *range(0x370, 0x400), *range(0x2010, 0x2027),
          0x20AC, 0x2190, 0x2191, 0x2192, 0x2193, 0x2202, 0x2206, 0x2207, 0x2211, 0x2212, 0x221A, 0x221E,
          0x2248, 0x2260, 0x2264, 0x2265, *range(0x2070, 0x209D)]
options = Options(hinting=False, layout_features=[], name_IDs=[0, 1, 2, 4, 6, 13, 14], notdef_outline=True,
                  drop_tables=["GPOS", "GSUB", "GDEF", "kern", "DSIG", "gasp", "FFTM"])
subset = Subsetter(options)
subset.populate(unicodes=wanted)
subset.subset(font)
for record in font["name"].names:
    if record.nameID in (1, 4):
        record.string = "Figure Sans"
    if record.nameID == 6:
        record.string = "FigureSans"
font.save(target)
