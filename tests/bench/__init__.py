"""`make bench`: the exporter against its peers, on this machine, in one run."""
