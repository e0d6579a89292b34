"""Losses and samplers of flow policies. Flow time: k = 0 is data, k = 1 is noise, the velocity is `eps - a`."""
