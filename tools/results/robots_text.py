"""The text of docs/results.md about robots between the tables. Lines are as long as on the page."""

HEAD = """# What it learns

`make results` writes this half of the page ({done} of {total} cells finished). All rows have the same network size and budget, fixed
before the runs: `{size}`. Algorithms with a critic also have `{critic}`. Every run trains five seeds. Every seed is
evaluated for twenty episodes in each way to act. The twenty starts are the same for all seeds and rows. Intervals are 95 %
bootstrap intervals over seeds, then episodes. Seeds that played the same starts share one draw of starts. Five seeds are few for
such an interval: in a simulation where seeds differ as much as episodes do, 89 of 100 intervals contain the true value. Curves
and `per seed` show every row with its own acting noise (`<` in the tables).

No run here has the paper's 4 x 512 networks or its 500 000 updates. The datasets are our own recordings, so no table here
reproduces one of the paper. 10 000 updates are few for the paper's critic: with its `tau` and discount, `Q` needs about 40 000
updates to reach its level (the tables of diagnostics show how far it is). The rows of `vgm2p` show what it reaches within this
budget, not what it can reach.

The pictures still have the former name of `vgm2p_chosen`: `vgm2p_plus`. Today's `vgm2p_plus` is another algorithm; its rows are in
[baselines](baselines.md).

`vgm2p_chosen` was chosen on the two medium-replay sets, with training seeds 0 and 1 and the first ten starts. These seeds and starts
are part of the results below. A separate table shows other seeds and starts. `vgm2p_chosen` is the result of the fourth round of
choices ([how](notes/vgm2p_chosen.md)). The choices of the earlier rounds lost to cloning on medium-expert data. No
switch was chosen on these sets, but they are not unseen test data.

| row | `python -m vgm2p fit experiment=<set>` and |
|---|---|
{commands}

{versions}"""
IN_SHORT = """## In short

Mean returns of `vgm2p_chosen` and of the four rows that it should beat. Every row acts in its best way (one of five ways if the policy
starts from noise). The best way and the best row are selected on these same episodes, for both sides of a difference. The
intervals do not include this selection. `*`: the interval excludes 0."""
OTHER_ROWS = """`vgm2p_chosen` with its own acting noise, the other rows, and the difference to the best of all rows:"""
UNSEEN = """The two sets on which `vgm2p_chosen` was chosen, but only the seeds and starts that ranked none of its variants: three seeds, ten
episodes each. The results of earlier choices on them were known, and the ways to act are selected with them:"""
DIAGNOSTICS = """Diagnostics at the end of training. The fixed point is the mean reward divided by one minus the discount. `Q` comes close to it when it has
learnt; for a policy that is better than the data, `Q` may exceed it. Class 1: the share of actions with condition 1. Agents
agree: the share of pairs of agents with the same condition in a transition. By chance: the same share for independent draws.
Clipped: the share of generated action components on the bounds."""
DIFFERENCES = "Differences, each method in its best way to act (selected on these same episodes, for both sides):"
