"""The experiments of docs/results.md and the page itself, in two halves: robots and battles.

Imports point one way: cells, then robots and battles (which cells there are), then the parts of a page, then the pages,
then __main__.
"""
