"""Our HDF5 layout: schema, rules, chunks, writing, verifying, combining."""
