"""Where dataset files come from: recordings, published datasets, their catalogue, and the hub that stores them."""
