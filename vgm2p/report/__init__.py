"""Tables, curves and intervals. They need only the files in run folders."""
