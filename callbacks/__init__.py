"""What happens between blocks of updates, as Lightning callbacks and loggers. All of them count updates.

They know a run by `vgm2p.training`, as callbacks of a user do; training builds them from `conf/callbacks` and
`conf/logger`, and imports none of them.
"""
