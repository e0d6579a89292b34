"""What acting is: rollouts, evaluation, trained policies, recording, video."""
