"""Losses and samplers of policies that turn noise into actions.

Flows: time k = 0 is data, k = 1 is noise, the velocity is `eps - a`. Diffusion: level 0 is almost data, level K - 1
almost noise.
"""
