"""The pages of the dashboard: pure functions from records to HTML. ``perdure.server`` collects the records."""
