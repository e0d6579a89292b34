"""Runs every command of the README and of docs/ at a small budget: `python -m tests.readme <scratch folder>`."""
