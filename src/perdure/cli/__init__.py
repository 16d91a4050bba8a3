"""The command line, ``perdure`` or ``python -m perdure``: one module per command."""
