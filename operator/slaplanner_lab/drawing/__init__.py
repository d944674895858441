"""Figures of dry-runs, forecasts, profiles and simulations; needs the extra `plot`."""
