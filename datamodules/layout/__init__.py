"""Our HDF5 layout: schema, rules, step and episode tables, reading, writing, checking and combining."""
