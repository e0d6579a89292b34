"""The commands of `vgm2p`, one file each."""
