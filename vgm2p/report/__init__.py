"""Tables, curves and intervals, made from run folders alone."""
