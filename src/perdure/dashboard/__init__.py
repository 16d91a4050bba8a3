"""The dashboard's pages: pure functions from records to HTML. ``perdure.server`` collects the records."""
