"""The experiments of docs/results.md and the page itself, in two halves: robots and battles.

Order of the imports, from the lowest module: cells; robots and battles, which define the cells; the parts of a page;
the pages; __main__.
"""
