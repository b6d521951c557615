"""Stand-ins: small servers of ours that speak the real ones' protocols."""
