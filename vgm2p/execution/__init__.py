"""Policies that act: rollouts, evaluation, trained policies, recording, video."""
