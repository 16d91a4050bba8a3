"""The example jobs that ``perdure demo`` runs."""
