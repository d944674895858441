"""Other autoscalers' configurations, turned into the SLAPolicy that does the same."""
