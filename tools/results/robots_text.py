"""The text of docs/results.md about robots between the tables. Lines are as long as on the page."""

HEAD = """# What it learns

`make results` writes this half of the page ({done} of {total} cells finished). All rows of the first table have the same network
size and budget, fixed before the runs: `{size}`. Algorithms with a critic also have `{critic}`. `ma_cql` and `omar` use two
candidate actions of each kind in the place of the ten of their authors; `omiga` has its authors' discount, 0.99. Every run trains
five seeds. Every seed is evaluated for twenty episodes in each way to act. The twenty starts are the same for all seeds and rows. The
keys of `vgm2p_plus` were chosen on these sets, with other seeds and starts ([note](notes/drawing_by_return.md)), those of
`vgm2p_chosen` also with these ([note](notes/vgm2p_chosen.md)). [Four other sets](notes/other_robots.md) were used for no choice. Intervals are 95 % bootstrap intervals over
seeds, then episodes. Five seeds are few for such an interval: in a simulation where seeds differ as much as episodes do, 87 of 100
intervals contain the true value.

No run of the first tables has the paper's 4 x 512 networks or its 500 000 updates. The datasets are our own recordings, so no table
here reproduces one of the paper. 10 000 updates are few for the paper's critic: with its `tau` and discount, `Q` needs about 40 000
updates to reach its level. The rows of `vgm2p` show what it reaches within this budget, not what it can reach.

{versions}"""
ROWS = """## Rows

`_x`: the network predicts the [clean action](algorithms/clean_action.md). `_10`: steps are [drawn by
return](data.md#which-steps-are-drawn), with an effective sample size of a tenth of the steps.

| row | `python -m vgm2p fit experiment=<set>` and |
|---|---|
{commands}"""
TABLE = """## All rows

Mean return with the algorithm's own way to act: `act_noise` 1, but 0 for `vgm2p_plus` and 0.25 for `vgm2p_chosen`. In brackets: its best of
five ways, if another one is better; that is selected on these same episodes. Empty: not run yet."""
FIGURE = """![returns with intervals](results/robots.png)

The same numbers. Full dots with 95 % intervals: the own way to act. Hollow dots: the best way. Dashed: the mean of the data."""
GAPS = """## `vgm2p_plus` against the best of the others

`vgm2p_plus` acts in its own way, which is the same on all sets. Every other row acts in its best way, and the best row of each group is
shown; both are selected on these same episodes, which favours the others. Difference: `vgm2p_plus` minus that row, with its 95 % interval;
`*`: the interval excludes 0."""
SUMMARY = "Against the best of all others, the interval of the difference"
MISSING = """## Not run yet

A row that is missing on a set may be better there than the best row above. An earlier version of the program has run some of them
([note](notes/vgm2p_chosen.md#all-sets-with-an-earlier-version-of-the-program)). `_large`: four hidden layers of 512, for a GPU.

"""
ABLATIONS = """## The paper's ablations: mixer (Fig. 2) and omega (Fig. 3)

Mean returns as in the first table; `vgm2p` there is the row with omega 3 and the mean as mixer."""
LARGE = """## The paper's network size

Four hidden layers of 512, and 50 000 updates, a tenth of the paper's. Mean returns as in the first table."""
