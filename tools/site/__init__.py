"""What `make docs` adds to mkdocs: pages made from files outside docs/, and tables of the configuration's keys."""
