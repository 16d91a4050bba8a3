"""The job kinds, one package each: context, pure handler, typed handle, definition. No other module knows them."""
