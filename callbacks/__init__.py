"""Lightning callbacks and loggers that act between blocks of updates. All of them count updates.

They import `vgm2p.training`, as a user's callbacks do. `vgm2p.training` imports none of them: it builds them from
`conf/callbacks` and `conf/logger`.
"""
