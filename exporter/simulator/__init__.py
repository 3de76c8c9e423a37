"""A simulation of Microsoft's login, Graph and download hosts, for `demo` and for developers."""
