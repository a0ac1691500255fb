"""How much the methods look at or hold at once: for the solvers, and for the plan of what a job
costs, which does without torch."""

ROWS_SCALED = 256
"""Rows of the matrices that take one scale, at most and evenly spread, whose loss AWQ's search
looks at: enough to rank the scalings."""

ROWS_COMPARED = 128
"""Rows of a tensor in a block, at most and evenly spread, on which types are compared."""

WAITING_BYTES = 1 << 29
"""Inputs of a block's widest linear, for the whole calibration, that may wait to be read by it."""

WEIGHTS_SOLVED = 1 << 22
"""Weights that a solver works on at once, in about 14 bytes each; a matrix of more goes some rows
at a time."""

STATES_BYTES = 1 << 29
"""Inputs of all blocks, of some of the calibration's samples, that wait for the way back."""
