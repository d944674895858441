"""The sections of the SLAPolicy's spec, one module each; `spec` puts them together."""
