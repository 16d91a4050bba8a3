"""The three example jobs: what the README and the tutorial show, and what ``perdure demo`` runs."""
