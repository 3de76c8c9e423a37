"""Recording rules, alerts and inhibitions as code: `make rules` writes monitoring/*.yml."""
