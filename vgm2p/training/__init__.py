"""What a fit is: updates in blocks, captured or not, comparison runs, the last evaluation, the manifest."""
