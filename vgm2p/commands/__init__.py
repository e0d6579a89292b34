"""The words that a user types after `vgm2p`, one file each."""
