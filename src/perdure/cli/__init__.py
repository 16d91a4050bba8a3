"""The command line: ``perdure`` and ``python -m perdure``. One file for each command."""
