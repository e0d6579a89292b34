"""Flow objectives and samplers as functions of a network: k = 0 is data, k = 1 is noise, velocity `eps - a`."""
