"""`make test-hostile`: checkpoints, run folders, data files and names of somebody who wants to do harm."""
