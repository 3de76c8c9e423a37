"""From a tenant's credential to a bearer token, by MSAL."""
